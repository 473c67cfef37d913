import { Thread } from "../../src/runtime/thread.js";

/** A program that calls a thread once and then has nothing to do. */
const thread = new Thread(new URL("./thread-methods.js", import.meta.url));
console.log(await thread.call("compute", 30));
