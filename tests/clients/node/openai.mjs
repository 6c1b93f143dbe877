// The official client for Node: every dialect but messages.
import OpenAI, { toFile } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
  base, cities, echo, embedding, expect, key, model, parameters, question, run, same, saying, twoCalls, weather,
} from "./checks.mjs";

const client = new OpenAI({ baseURL: base, apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: question }];
const echoed = [{ role: "user", content: saying }];
const calling = [{ role: "user", content: twoCalls }];
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const responseTools = [{ type: "function", name: "get_weather", parameters, strict: false }];
const Answer = z.object({ answer: z.string() });
const city = (call) => JSON.parse((call.function ?? call).arguments).city;

await run({
  chat: async () => {
    const answer = await client.chat.completions.create({ model: echo, messages: echoed });
    same(answer.choices[0].message.content, saying);
    expect(answer.usage.completion_tokens > 0, "no usage");
  },
  stream: async () => {
    let text = "";
    let ended = false;
    for await (const chunk of await client.chat.completions.create({ model: echo, messages: echoed, stream: true })) {
      const choice = chunk.choices[0];
      text += choice?.delta?.content ?? "";
      ended ||= Boolean(choice?.finish_reason);
    }
    same([text, ended], [saying, true]);
  },
  stream_helper: async () => {
    const options = { model: echo, messages: echoed, stream_options: { include_usage: true } };
    const whole = await client.chat.completions.stream(options).finalChatCompletion();
    same(whole.choices[0].message.content, saying);
    expect(whole.usage.total_tokens > 0, "no usage");
  },
  tools: async () => {
    const asked = (await client.chat.completions.create({ model, messages: calling, tools })).choices[0].message;
    same(asked.tool_calls.map(city), cities);
    const results = asked.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: weather(city(call)) }));
    const answer = await client.chat.completions.create({ model, messages: [...calling, asked, ...results], tools });
    expect(answer.choices[0].message.content.includes("sunny in Bern sunny in Zürich"), "the results are not there");
  },
  streamed_tools: async () => {
    const whole = await client.chat.completions.stream({ model, messages: calling, tools }).finalChatCompletion();
    same(whole.choices[0].message.tool_calls.map(city), cities);
  },
  parse: async () => {
    const format = zodResponseFormat(Answer, "answer");
    const whole = await client.chat.completions.parse({ model, messages, response_format: format });
    expect(typeof whole.choices[0].message.parsed.answer === "string", "not parsed");
  },
  several: async () => {
    const answer = await client.chat.completions.create({ model, messages, n: 2 });
    same(answer.choices.length, 2);
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
  response: async () => {
    const answer = await client.responses.create({ model: echo, input: saying });
    same([answer.status, answer.output_text], ["completed", saying]);
    expect(answer.usage.output_tokens > 0, "no usage");
  },
  response_stream: async () => {
    let text = "";
    let last;
    for await (const event of await client.responses.create({ model: echo, input: saying, stream: true })) {
      if (event.type === "response.output_text.delta") text += event.delta;
      last = event;
    }
    same([text, last.type], [saying, "response.completed"]);
    expect(last.response.usage.output_tokens > 0, "no usage");
  },
  response_stream_helper: async () => {
    const whole = await client.responses.stream({ model: echo, input: saying }).finalResponse();
    same(whole.output_text, saying);
  },
  response_tools: async () => {
    const asked = await client.responses.create({ model, input: calling, tools: responseTools });
    const calls = asked.output.filter((item) => item.type === "function_call");
    same(calls.map(city), cities);
    const results = calls.map((call) => ({
      type: "function_call_output", call_id: call.call_id, output: weather(city(call)),
    }));
    const input = [...calling, ...asked.output, ...results];
    const answer = await client.responses.create({ model, input, tools: responseTools });
    expect(answer.output_text.includes("sunny in Bern sunny in Zürich"), "the results are not there");
  },
  response_streamed_tools: async () => {
    const whole = await client.responses.stream({ model, input: calling, tools: responseTools }).finalResponse();
    same(whole.output.filter((item) => item.type === "function_call").map(city), cities);
  },
  response_parse: async () => {
    const format = zodTextFormat(Answer, "answer");
    const whole = await client.responses.parse({ model, input: question, text: { format } });
    expect(typeof whole.output_parsed.answer === "string", "not parsed");
  },
  embeddings: async () => {
    const both = await client.embeddings.create({ model: embedding, input: ["one", "two"] }); // asks for base64 by itself
    const plain = await client.embeddings.create({ model: embedding, input: "one", encoding_format: "float" });
    same(both.data.length, 2);
    const apart = both.data[0].embedding.map((number, i) => Math.abs(number - plain.data[0].embedding[i]));
    expect(Math.max(...apart) < 1e-6, "the two formats differ");
  },
  completions: async () => {
    same((await client.completions.create({ model: echo, prompt: saying })).choices[0].text, saying);
  },
  completions_stream: async () => {
    let text = "";
    for await (const chunk of await client.completions.create({ model: echo, prompt: saying, stream: true })) {
      text += chunk.choices[0]?.text ?? "";
    }
    same(text, saying);
  },
  images: async () => {
    const picture = await client.images.generate({ model: "gpt-image-1", prompt: "a cat" });
    expect(picture.data[0].b64_json.length > 0, "no picture");
  },
  audio: async () => {
    const spoken = Buffer.from(
      await (await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "hello there" })).arrayBuffer(),
    );
    same(spoken.subarray(0, 4).toString(), "RIFF");
    const file = await toFile(spoken, "hello.wav");
    expect((await client.audio.transcriptions.create({ model: "whisper-1", file })).text.length > 0, "nothing heard");
  },
  moderations: async () => {
    same((await client.moderations.create({ input: "hello there" })).results[0].flagged, false);
  },
});
