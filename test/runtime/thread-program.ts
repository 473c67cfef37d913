import { Thread } from "../../src/runtime/thread.js";

/** A program that calls a thread once and is then idle. */
const thread = new Thread(new URL("./thread-methods.js", import.meta.url));
console.log(await thread.call("compute", 30));
