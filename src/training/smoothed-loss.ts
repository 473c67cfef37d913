import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";

/**
 * (1 - s) times the targets' cross-entropy plus s times its mean over all classes (Szegedy et al. 2016), per row: [N].
 *
 * @param loss [N] and log-probabilities [N, C], as `crossEntropy` gives them
 * @param share s, from 0 to 1
 */
export function smoothedLoss(g: GraphBuilder, loss: Value, logProbabilities: Value, share: number): Value {
  if (share === 0) return loss;
  const everywhere = g.negate(g.squeeze(g.mean(logProbabilities, -1), 1));
  return g.add(g.multiply(loss, g.number(1 - share)), g.multiply(everywhere, g.number(share)));
}
