/*
 * Since version 1.30, ONNX Runtime's Linux library sends usage events to its vendor unless this variable is set when it
 * is loaded. It reads the environment of the process, which only the main thread can change. Therefore, modules that
 * start threads and the module that imports onnxruntime-node import this one first.
 */
process.env.ORT_DISABLE_TELEMETRY ??= "1";
