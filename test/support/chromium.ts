import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import puppeteer, { type Browser, type Page } from "puppeteer-core";

const names = ["chromium", "chromium-browser", "google-chrome"];

/** The path of a Chromium: `CHROMIUM_PATH` or one of the usual names in the PATH. */
export function findChromium(): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const usual = folders.flatMap((folder) => names.map((name) => join(folder, name)));
  return [process.env.CHROMIUM_PATH, ...usual].find((path) => path !== undefined && isExecutable(path));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Starts a headless browser. */
export function startChromium(executablePath: string): Promise<Browser> {
  return puppeteer.launch({
    executablePath,
    // In containers, root has neither the sandbox nor much shared memory; only trusted pages are opened.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
}

/** An open page and its hidden activity. */
export interface Ticket {
  readonly page: Page;
  /** Script errors, console warnings and policy violations. */
  readonly complaints: string[];
  /** Origins to which requests were sent. */
  readonly origins: Set<string>;
}

export interface Screen {
  readonly width?: number;
  readonly height?: number;
  readonly scheme?: "light" | "dark";
}

/** Opens an address in a separate browser profile. */
export async function ticket(browser: Browser, url: string, screen: Screen = {}): Promise<Ticket> {
  const { width = 1280, height = 860, scheme = "light" } = screen;
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const complaints: string[] = [];
  const origins = new Set<string>();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warn"].includes(message.type())) complaints.push(message.text());
  });
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    // The buttons of the browser's built-in player are data: images.
    if (protocol !== "data:") origins.add(origin);
  });
  await page.evaluateOnNewDocument(
    "addEventListener('securitypolicyviolation', (event) => console.error('policy', event.violatedDirective))",
  );
  await page.setViewport({ width, height });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(url, { waitUntil: "networkidle0" });
  return { page, complaints, origins };
}

/** The trimmed text of each matching element. */
export async function textsOf(page: Page, selector: string): Promise<string[]> {
  const script = `Array.from(document.querySelectorAll(${JSON.stringify(selector)}), (e) => e.textContent.trim())`;
  return (await page.evaluate(script)) as string[];
}

/** Waits until `count` elements match. */
export async function waitForCount(page: Page, selector: string, count: number): Promise<void> {
  await page.waitForFunction(`document.querySelectorAll(${JSON.stringify(selector)}).length === ${count}`);
}
