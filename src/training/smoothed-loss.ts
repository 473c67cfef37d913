import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";

/**
 * Label smoothing (Szegedy et al. 2016): (1 - s) times the cross-entropy of the target plus s times its mean over all
 * classes, per row: [N].
 *
 * @param loss [N]; like `logProbabilities` [N, C], an output of `crossEntropy`
 * @param share s, from 0 to 1
 */
export function smoothedLoss(g: GraphBuilder, loss: Value, logProbabilities: Value, share: number): Value {
  if (share === 0) return loss;
  const everywhere = g.negate(g.squeeze(g.mean(logProbabilities, -1), 1));
  return g.add(g.multiply(loss, g.number(1 - share)), g.multiply(everywhere, g.number(share)));
}
