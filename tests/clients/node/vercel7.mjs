import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import * as ai from "ai";
import { base, echo, key, run, same, saying } from "./checks.mjs";
import { settings } from "./connect.mjs";
import { check } from "./vercel.mjs";

const openai = createOpenAI({ baseURL: base, apiKey: key });
const anthropic = createAnthropic({ baseURL: base, apiKey: key });
const providers = { openai, openai_chat: (name) => openai.chat(name), anthropic };
await check({ ai, providers, embeddings: (name) => openai.embedding(name) });
await run({
  connected: async () => {
    const { model } = await settings("vercel", echo);
    same((await ai.generateText({ model, maxRetries: 0, prompt: saying })).text, saying);
  },
});
