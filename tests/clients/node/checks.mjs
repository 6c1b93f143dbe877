// Runs named checks and prints one JSON line for each: {"check", "ok", "why"}.
export async function run(checks) {
  for (const [check, tried] of Object.entries(checks)) {
    try {
      await tried();
      console.log(JSON.stringify({ check, ok: true, why: "" }));
    } catch (error) {
      console.log(JSON.stringify({ check, ok: false, why: `${error?.name}: ${error?.message}`.slice(0, 500) }));
    }
  }
}

export function expect(holds, why) {
  if (!holds) throw new Error(why);
}

export const base = process.env.CLIENTS_BASE_URL;
export const key = "clients-own-key";
export const model = "gpt-4o";
