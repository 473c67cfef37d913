import { testRandomRequests } from "../../support/counted-requests.js";

testRandomRequests(1_000_000);
