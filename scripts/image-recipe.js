// Parses the Dockerfile into plain data and rejects instructions that it does not support.
import { DockerfileParser } from "dockerfile-ast";

const STEPS = new Set([
  "WORKDIR",
  "COPY",
  "RUN",
  "ENV",
  "LABEL",
  "USER",
  "EXPOSE",
  "STOPSIGNAL",
  "HEALTHCHECK",
  "ENTRYPOINT",
  "CMD",
]);

/**
 * @typedef {{keyword: string, line: number, text: string, flags: Record<string, string>, words: string[],
 *   values: [string, string][]}} Step
 *
 * @param {string} text content of a Dockerfile
 * @returns {{name: string, base: string, steps: Step[]}[]} its stages in order
 */
export function readStages(text) {
  const dockerfile = DockerfileParser.parse(text);
  const stages = [];
  for (const instruction of dockerfile.getInstructions()) {
    const keyword = instruction.getKeyword();
    if (keyword === "ARG" && stages.length === 0) continue;
    const line = instruction.getRange().start.line + 1;
    if (keyword === "FROM") {
      const base = expandArguments(instruction.getImage(), dockerfile.getInitialARGs());
      stages.push({ name: instruction.getBuildStage() ?? "final", base, steps: [] });
    } else if (STEPS.has(keyword)) {
      stages.at(-1).steps.push({ keyword, line, ...contents(instruction) });
    } else {
      throw new TypeError(`Dockerfile:${line}: ${keyword} is not supported by this check`);
    }
  }
  return stages;
}

function contents(instruction) {
  const flags = (instruction.getFlags?.() ?? []).map((flag) => [flag.getName(), flag.getValue()]);
  const json = (instruction.getJSONStrings?.() ?? []).map((argument) => argument.getJSONValue());
  const words = json.length > 0 ? json : instruction.getArguments().map((argument) => argument.getValue());
  const properties = instruction.getProperties?.() ?? [];
  return {
    text: instruction.getArgumentsContent() ?? "",
    flags: Object.fromEntries(flags),
    words,
    values: properties.map((property) => [property.getName(), property.getValue()]),
  };
}

/** Replaces `${NAME}` by the values of the ARGs before the first FROM. */
function expandArguments(text, initial) {
  const values = new Map(initial.map((arg) => [arg.getProperty().getName(), arg.getProperty().getValue()]));
  return text.replace(/\$\{(\w+)\}/g, (_, name) => {
    if (!values.has(name)) throw new TypeError(`Dockerfile: ${name} has no value`);
    return values.get(name);
  });
}
