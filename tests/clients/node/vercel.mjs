// Vercel's AI SDK, as opencode, cline and many web applications use it. It checks every event of a stream by a schema.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";
import { base, expect, key, model, run } from "./checks.mjs";

const provider = createOpenAICompatible({ name: "arbstr", baseURL: base, apiKey: key, includeUsage: true, supportsStructuredOutputs: true });
const chosen = { model: provider(model), maxRetries: 0 };
const prompt = "What is the weather in Bern?";
const get_weather = tool({
  description: "The weather of a place",
  inputSchema: z.object({ city: z.string() }),
  execute: async () => "sunny",
});

async function streamed(options) {
  const faults = [];
  const result = streamText({ ...chosen, prompt, onError: ({ error }) => faults.push(error), ...options });
  let text = "";
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") text += part.text;
    if (part.type === "error") faults.push(part.error);
  }
  expect(faults.length === 0, `errors in the stream: ${faults.map(String)}`);
  return { text, result };
}

await run({
  generate_text: async () => {
    const { text, usage } = await generateText({ ...chosen, prompt });
    expect(text.length > 0 && usage.outputTokens > 0, "no text or no usage");
  },
  stream_text: async () => {
    const { text, result } = await streamed({});
    expect(text.length > 0, "no text");
    expect((await result.finishReason) === "stop", `ended with ${await result.finishReason}`);
    expect((await result.usage).outputTokens > 0, "no usage");
  },
  stream_tools: async () => {
    const { text, result } = await streamed({ tools: { get_weather }, stopWhen: stepCountIs(3) });
    expect((await result.steps).length >= 2, "the tool's result was not sent back");
    expect(text.length > 0, "no text after the tool");
  },
  generate_object: async () => {
    const { object } = await generateObject({ ...chosen, prompt, schema: z.object({ answer: z.string() }) });
    expect(typeof object.answer === "string", "no object");
  },
  stream_object: async () => {
    const result = streamObject({ ...chosen, prompt, schema: z.object({ answer: z.string() }) });
    for await (const _ of result.partialObjectStream);
    expect(typeof (await result.object).answer === "string", "no object");
  },
});
