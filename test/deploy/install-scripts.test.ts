import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

/*
 * The install script of onnxruntime-node downloads GPU libraries from outside the npm registry. npm 11.16 and later
 * obey `allowScripts`; older versions run the scripts of the packages for which the lock file has `hasInstallScript`.
 */

interface Lock {
  readonly packages: Readonly<Record<string, { readonly hasInstallScript?: true }>>;
}

const lock: Lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
const { allowScripts } = JSON.parse(readFileSync("package.json", "utf8")) as {
  allowScripts: Readonly<Record<string, boolean>>;
};

test("an installation from the lock file does not run the install script of onnxruntime-node", () => {
  assert.equal(allowScripts["onnxruntime-node"], false);
  const { hasInstallScript } = lock.packages["node_modules/onnxruntime-node"] ?? assert.fail("it is not locked");
  assert.equal(hasInstallScript, undefined, "delete this key, which npm adds when it updates the package");
});

test("every other install script is allowed by name", () => {
  const names = Object.entries(lock.packages)
    .filter(([, { hasInstallScript }]) => hasInstallScript)
    .map(([path]) => path.split("node_modules/").at(-1) ?? path);
  const allowed = Object.keys(allowScripts).filter((name) => allowScripts[name]);
  assert.deepEqual([...new Set(names)].sort(), allowed.sort());
});
