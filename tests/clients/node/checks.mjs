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

export function same(found, wanted) {
  const [one, other] = [JSON.stringify(found), JSON.stringify(wanted)];
  expect(one === other, `${one} instead of ${other}`);
}

export const base = process.env.CLIENTS_BASE_URL;
export const root = base.replace(/\/v1$/, "");
export const at = process.env.CLIENTS_AT; // provider, native or translated
export const key = "clients-own-key";
export const model = "gpt-4o";
export const echo = "mock-echo"; // answers with the question
export const embedding = "text-embedding-3-small";
export const saying = 'Grüße, 世界 🌍: "quoted" and \\ and </tag>.\nA second line, e.g. data: [DONE]';
export const question = "What is the weather in Bern?";
export const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
// A fake provider makes the calls that a question spells out.
export const twoCalls =
  'Please call get_weather with {"city": "Bern"} and call get_weather with {"city": "Zürich"}.';
export const cities = ["Bern", "Zürich"];
export const weather = (city) => `sunny in ${city}`;
