import { describe, it } from "node:test";
import { assertNoRequestWaits } from "../../support/counted-requests.js";

describe("random requests of clients of both priorities", () => {
  it("are all completed soon, in 1,000,000 steps", () => assertNoRequestWaits(1_000_000));
});
