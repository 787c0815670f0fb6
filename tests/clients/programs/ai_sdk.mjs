// The AI SDK over `openai.responses`: text, streams, steps with a tool, objects, reasoning; prints what it got.

import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const model = openai.responses(process.env.MODEL);
const common = { model, maxRetries: 0 };
const said = {};

const first = await generateText({ ...common, prompt: "My name is Ada. What is 17 * 3?" });
said.text = first.text;
said.usage = first.usage.totalTokens > 0;
said.finish = first.finishReason;
const continued = await generateText({
  ...common,
  prompt: "What is my name?",
  providerOptions: { openai: { previousResponseId: first.providerMetadata.openai.responseId } },
});
said.continued = continued.text;

const streamed = streamText({ ...common, prompt: "Count to 5." });
said.streamed = "";
for await (const delta of streamed.textStream) said.streamed += delta;

const tools = {
  get_weather: tool({
    description: "The weather in a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `It rains in ${city}`,
  }),
};
const steps = { tools, stopWhen: stepCountIs(3), prompt: "What is the weather in Paris and London?" };
const stepped = await generateText({ ...common, ...steps });
said.tool = stepped.text;
said.steps = stepped.steps.length;
const streamedSteps = streamText({ ...common, ...steps });
said.streamedTool = await streamedSteps.text;
const stateless = await generateText({ ...common, ...steps, providerOptions: { openai: { store: false } } });
said.stateless = stateless.text;

const object = await generateText({
  ...common,
  output: Output.object({ schema: z.object({ name: z.string(), age: z.number() }) }),
  prompt: "Invent a person who is 41.",
});
said.object = object.output;

const picture =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const seen = await generateText({
  ...common,
  messages: [
    {
      role: "user",
      content: [
        { type: "text", text: "What is this?" },
        { type: "file", data: picture, mediaType: "image/png" },
      ],
    },
  ],
});
said.picture = seen.text;

console.log(JSON.stringify(said));
