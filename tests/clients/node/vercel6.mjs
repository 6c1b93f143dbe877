import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import * as ai from "ai6";
import { createAnthropic } from "ai6-anthropic";
import { createOpenAI } from "ai6-openai";
import { base, key } from "./checks.mjs";
import { check } from "./vercel.mjs";

const openai = createOpenAI({ baseURL: base, apiKey: key });
const compatible = createOpenAICompatible({
  name: "arbstr", baseURL: base, apiKey: key, includeUsage: true, supportsStructuredOutputs: true,
});
const anthropic = createAnthropic({ baseURL: base, apiKey: key });
await check({ ai, providers: { openai, anthropic, compatible }, embeddings: (name) => openai.embedding(name) });
