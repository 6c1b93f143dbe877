import * as ai from "ai7";
import { createAnthropic } from "ai7-anthropic";
import { createOpenAI } from "ai7-openai";
import { base, key } from "./checks.mjs";
import { check } from "./vercel.mjs";

const openai = createOpenAI({ baseURL: base, apiKey: key });
const anthropic = createAnthropic({ baseURL: base, apiKey: key });
const providers = { openai, openai_chat: (name) => openai.chat(name), anthropic };
await check({ ai, providers, embeddings: (name) => openai.embedding(name) });
