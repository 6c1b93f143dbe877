// The official client for Node.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { base, expect, key, model, run } from "./checks.mjs";

const client = new OpenAI({ baseURL: base, apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: "What is the weather in Bern?" }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];

await run({
  chat: async () => {
    const answer = await client.chat.completions.create({ model, messages });
    expect(answer.choices[0].message.content.length > 0, "no text");
    expect(answer.usage.completion_tokens > 0, "no usage");
  },
  stream: async () => {
    let text = "";
    let ended = false;
    for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
      const choice = chunk.choices[0];
      text += choice?.delta?.content ?? "";
      ended ||= Boolean(choice?.finish_reason);
    }
    expect(text.length > 0 && ended, "no text or no end");
  },
  stream_helper: async () => {
    const stream = client.chat.completions.stream({ model, messages, stream_options: { include_usage: true } });
    const whole = await stream.finalChatCompletion();
    expect(whole.choices[0].message.content.length > 0, "no text");
    expect(whole.usage.total_tokens > 0, "no usage");
  },
  tools: async () => {
    const answer = await client.chat.completions.create({ model, messages, tools });
    const call = answer.choices[0].message.tool_calls[0];
    expect(call.function.name === "get_weather", "another tool");
    expect(typeof JSON.parse(call.function.arguments).city === "string", "other arguments");
  },
  streamed_tools: async () => {
    const whole = await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion();
    expect(typeof JSON.parse(whole.choices[0].message.tool_calls[0].function.arguments).city === "string", "arguments");
  },
  parse: async () => {
    const format = zodResponseFormat(z.object({ answer: z.string() }), "answer");
    const whole = await client.chat.completions.parse({ model, messages, response_format: format });
    expect(typeof whole.choices[0].message.parsed.answer === "string", "not parsed");
  },
  several: async () => {
    const answer = await client.chat.completions.create({ model, messages, n: 2 });
    expect(answer.choices.length === 2, "not two answers");
  },
  unknown_model: async () => {
    const refused = await client.chat.completions.create({ model: "no-such-model", messages }).catch((error) => error);
    expect([400, 404].includes(refused.status), `status ${refused.status}`);
  },
  models: async () => {
    const listed = [];
    for await (const one of client.models.list()) listed.push(one.id);
    expect(listed.includes(model), "the model is not listed");
  },
});
