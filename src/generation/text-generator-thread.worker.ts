import type { DecoderShape } from "../backbones/backbone.js";
import { EpalmError } from "../core/errors.js";
import { serveThread } from "../runtime/serve-thread.js";
import { openSession, type SessionOptions } from "../runtime/session.js";
import { loadTokenizer } from "../tokenizer/tokenizer.js";
import { Decoder } from "./decoder.js";
import { Engine } from "./engine.js";
import type { GenerationOptions } from "./options.js";
import type { RankingOptions } from "./ranking.js";
import type { RequestOrigin } from "./request-origin.js";
import { type SpecialTokenIds, TextGenerator, type TextRequest } from "./text-generator.js";

/** The worker of `RemoteTextGenerator`: one decoder with its tokenizer and scheduler. */

export interface OpenDecoder {
  readonly graph: string;
  readonly tokenizer: string;
  readonly shape: DecoderShape;
  readonly specialTokens: SpecialTokenIds;
  readonly session: SessionOptions;
}

let generator: TextGenerator | undefined;

function opened(): TextGenerator {
  if (generator) return generator;
  throw new EpalmError("internal", "the decoder is not open");
}

interface Generate {
  readonly request: TextRequest;
  readonly options: GenerationOptions;
  readonly streams: boolean;
  readonly origin: RequestOrigin | undefined;
  readonly shortens: boolean | undefined;
}

interface Rank {
  readonly request: TextRequest;
  readonly candidates: readonly string[];
  readonly options: RankingOptions & { readonly origin?: RequestOrigin | undefined };
}

serveThread({
  async open({ graph, tokenizer, shape, specialTokens, session }: OpenDecoder) {
    const engine = new Engine(new Decoder(await openSession(graph, session), shape));
    generator = new TextGenerator(engine, loadTokenizer(tokenizer), specialTokens);
  },
  generate({ request, options, streams, origin, shortens }: Generate, { signal, emit }) {
    return opened().generate(request, options, { signal, onText: streams ? emit : undefined, origin, shortens });
  },
  rank({ request, candidates, options }: Rank, { signal }) {
    return opened().rank(request, candidates, { ...options, signal });
  },
  counts: () => opened().counts,
  scoreText: ({ text }: { text: string }) => opened().scoreText(text),
});
