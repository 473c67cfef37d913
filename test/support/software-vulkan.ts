import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Folders in which Chromium's packages install its Vulkan driver for the CPU, SwiftShader, and its Vulkan loader. */
const folders = ["/usr/lib/chromium", "/usr/lib64/chromium-browser", "/opt/google/chrome"];

/**
 * The environment of a process that computes WebGPU with the Vulkan driver of an installed Chromium, without a GPU; for
 * the device `webgpu`. Undefined without Chromium.
 */
export function softwareVulkan(): NodeJS.ProcessEnv | undefined {
  const folder = folders.find((path) => existsSync(join(path, "vk_swiftshader_icd.json")));
  if (folder === undefined) return undefined;
  return {
    ...process.env,
    VK_ICD_FILENAMES: join(folder, "vk_swiftshader_icd.json"),
    // The loader is only read from the environment of a new process.
    LD_LIBRARY_PATH: folder,
    XDG_RUNTIME_DIR: mkdtempSync(join(tmpdir(), "epalm-vulkan-")),
    EPALM_DEVICE: "webgpu",
  };
}
