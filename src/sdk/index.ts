/** The public API of the client: `epalm/sdk`. */

export type { AnswerPiece, AnswerStream } from "../core/answer-stream.js";
export { EpalmError, type ErrorCode } from "../core/errors.js";
export type { GenerationOptions } from "../generation/options.js";
export type { Answer, Answers, ModelInfo, Ranking, Timings } from "./answer.js";
export {
  type AskOptions,
  type CallOptions,
  EpalmClient,
  type Health,
  type RankOptions,
  type StreamOptions,
} from "./client.js";
export { EpalmApiError, EpalmConnectionError, EpalmTimeoutError } from "./client-errors.js";
export type { ClientOptions, Fetch } from "./client-settings.js";
export type { MediumInput } from "./medium.js";
export type {
  CommonAnswer,
  CommonAnswers,
  CommonAskOptions,
  CommonMedium,
  CommonRanked,
  CommonRanking,
  CommonRankOptions,
  CommonStreamOptions,
  CommonText,
  CommonTimings,
  CommonTopToken,
  CommonUsage,
  MultimodalModel,
} from "./multimodal-model.js";
