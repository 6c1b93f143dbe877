// Anthropic's official client for Node.
import Anthropic from "@anthropic-ai/sdk";
import {
  at, cities, echo, expect, key, model, parameters, question, root, run, same, saying, twoCalls, weather,
} from "./checks.mjs";

const client = new Anthropic({ baseURL: root, apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: question }];
const echoed = { model: echo, max_tokens: 4096, messages: [{ role: "user", content: saying }] };
const calling = { model, max_tokens: 4096, tools: [{ name: "get_weather", input_schema: parameters }] };

await run({
  message: async () => {
    const answer = await client.messages.create(echoed);
    same([answer.stop_reason, answer.content[0].text], ["end_turn", saying]);
    expect(answer.usage.output_tokens > 0, "no usage");
  },
  stream: async () => {
    const answer = await client.messages.stream(echoed).finalMessage();
    same([answer.stop_reason, answer.content[0].text], ["end_turn", saying]);
    expect(answer.usage.output_tokens > 1, "no usage");
  },
  tools: async () => {
    const turns = [{ role: "user", content: twoCalls }];
    const asked = await client.messages.create({ ...calling, messages: turns });
    same([asked.stop_reason, asked.content.map((use) => use.input.city)], ["tool_use", cities]);
    const results = asked.content.map((use) => ({
      type: "tool_result", tool_use_id: use.id, content: weather(use.input.city),
    }));
    turns.push({ role: "assistant", content: asked.content }, { role: "user", content: results });
    const answer = await client.messages.create({ ...calling, messages: turns });
    expect(answer.content[0].text.includes("sunny in Bern sunny in Zürich"), "the results are not there");
  },
  streamed_tools: async () => {
    const answer = await client.messages.stream({ ...calling, messages: [{ role: "user", content: twoCalls }] }).finalMessage();
    same(answer.content.map((use) => use.input.city), cities);
  },
  counted: async () => {
    if (at === "provider") return; // nodes are never asked to count
    expect((await client.messages.countTokens({ model, messages })).input_tokens > 0, "not counted");
  },
  unknown_model: async () => {
    const wanted = { model: "no-such-model", max_tokens: 10, messages };
    const refused = await client.messages.create(wanted).catch((error) => error);
    expect([400, 404].includes(refused.status), `status ${refused.status}`);
    same(refused.error?.type, "error");
  },
});
