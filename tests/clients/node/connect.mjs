// The settings that `arbstr connect` gives for a client, for the server that is asked here, run as a module.
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { root } from "./checks.mjs";

export async function settings(client, model) {
  const listen = root.replace("http://", "");
  const { PYTHONPATH, ...env } = process.env;
  const asked = ["-m", "arbstr", "connect", client, "--model", model, "-l", listen];
  const printed = execFileSync(process.env.CLIENTS_ARBSTR, asked, { env, encoding: "utf8", cwd: process.env.HOME });
  // Packages are looked for beside the module.
  const module = new URL(`./connected-${process.pid}.mjs`, import.meta.url);
  writeFileSync(module, printed.replace("const model =", "export const model ="));
  try {
    return await import(module);
  } finally {
    rmSync(module);
  }
}
