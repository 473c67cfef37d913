// Installs another version of Node for this platform, from the packages that the npm package `node` consists of.
import { execFileSync } from "node:child_process";
import { join } from "node:path";

/** Returns the path of the program of the newest Node `version`, such as `24`, installed in `folder`. */
export function installNode(version, folder) {
  const name = `node-${process.platform}-${process.arch}`;
  execFileSync("npm", ["install", "--prefix", folder, "--no-save", "--no-audit", "--no-fund", `${name}@${version}`], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  return join(folder, "node_modules", name, "bin/node");
}
