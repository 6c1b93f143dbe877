// Vercel's AI SDK, as opencode, cline and many web applications use it. It checks every event of a stream by a schema.
// `openai` is for Responses, `anthropic` for messages, `compatible` for chat completions.
import { z } from "zod";
import { cities, echo, embedding, expect, model, question, run, same, saying, twoCalls, weather } from "./checks.mjs";

export async function check({ ai, providers, embeddings }) {
  const { embed, generateObject, generateText, stepCountIs, streamObject, streamText, tool } = ai;
  const object = z.object({ answer: z.string() });
  const checks = {};

  async function streamed(options) {
    const faults = [];
    const result = streamText({ maxRetries: 0, onError: ({ error }) => faults.push(error), ...options });
    let text = "";
    for await (const part of result.fullStream) {
      if (part.type === "text-delta") text += part.text;
      if (part.type === "error") faults.push(part.error);
    }
    expect(faults.length === 0, `errors in the stream: ${faults.map(String)}`);
    return { text, result };
  }

  function weatherTool(asked) {
    return tool({
      description: "The weather of a place",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => {
        asked.push(city);
        return weather(city);
      },
    });
  }

  for (const [name, provider] of Object.entries(providers)) {
    Object.assign(checks, {
      [`${name}_text`]: async () => {
        const { text, usage } = await generateText({ model: provider(echo), maxRetries: 0, prompt: saying });
        same(text, saying);
        expect(usage.outputTokens > 0, "no usage");
      },
      [`${name}_stream`]: async () => {
        const { text, result } = await streamed({ model: provider(echo), prompt: saying });
        same([text, await result.finishReason], [saying, "stop"]);
        expect((await result.usage).outputTokens > 0, "no usage");
      },
      [`${name}_tools`]: async () => {
        const asked = [];
        const { text, steps } = await generateText({
          model: provider(model), maxRetries: 0, prompt: twoCalls, tools: { get_weather: weatherTool(asked) },
          stopWhen: stepCountIs(3),
        });
        same([asked.sort(), steps.length], [cities, 2]);
        expect(text.includes("sunny in Bern") && text.includes("sunny in Zürich"), `the results are not there: ${text}`);
      },
      [`${name}_streamed_tools`]: async () => {
        const asked = [];
        const { text, result } = await streamed({
          model: provider(model), prompt: twoCalls, tools: { get_weather: weatherTool(asked) }, stopWhen: stepCountIs(3),
        });
        same([asked.sort(), (await result.steps).length], [cities, 2]);
        expect(text.includes("sunny in Bern") && text.includes("sunny in Zürich"), `the results are not there: ${text}`);
      },
      [`${name}_object`]: async () => {
        const answer = await generateObject({ model: provider(model), maxRetries: 0, prompt: question, schema: object });
        expect(typeof answer.object.answer === "string", "no object");
      },
      [`${name}_streamed_object`]: async () => {
        const result = streamObject({ model: provider(model), maxRetries: 0, prompt: question, schema: object });
        for await (const _ of result.partialObjectStream);
        expect(typeof (await result.object).answer === "string", "no object");
      },
    });
  }
  checks.embed = async () => {
    const { embedding: vector } = await embed({ model: embeddings(embedding), maxRetries: 0, value: "one" });
    expect(vector.length > 0, "no vector");
  };
  await run(checks);
}
