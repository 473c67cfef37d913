/*
 * ONNX Runtime's Linux library sends usage events to its maker, from 1.30 on, unless this is set when it is loaded. Its
 * loader reads the process's environment, which only the main thread can change: modules that start threads, and the one
 * that imports onnxruntime-node, import this one first.
 */
process.env.ORT_DISABLE_TELEMETRY ??= "1";
