/**
 * Imports run one way: each folder of src/ is a stage of the data's way and knows only the stages
 * before it. The list below is that order; a file at the top of src/ is a stage of its own.
 */
const stages = [
  "core/",
  "tensor/",
  "graph/",
  "autodiff/",
  "layers/",
  "formats/",
  "hub/",
  "runtime/",
  "backbones/",
  "adapter/",
  "tokenizer/",
  "preprocessing/",
  "model/",
  "media/",
  "encoding/",
  "generation/",
  "pipeline.ts",
  "training/",
  "fedmae/",
  "fedmae.ts",
  "index.ts",
  "wire.ts",
  "server/",
  "sdk/",
  "cli/",
];

const forward = stages.slice(0, -1).map((stage, index) => ({
  name: `one-way:${stage}`,
  comment: `src/${stage} knows only the stages before it.`,
  severity: "error",
  from: { path: `^src/${stage}` },
  to: { path: `^src/(${stages.slice(index + 1).join("|")})` },
}));

/** A package that only one folder may import, so that what it does has one place. */
const confined = (name, packages, path) => ({
  name,
  severity: "error",
  from: { path: "^src/", pathNot: path },
  to: { path: packages },
});

module.exports = {
  forbidden: [
    ...forward,
    { name: "no-circular", severity: "error", from: {}, to: { circular: true } },
    {
      name: "known-stage",
      severity: "error",
      from: {},
      to: { path: "^src/", pathNot: `^src/(${stages.join("|")})` },
    },
    {
      name: "serving-without-training",
      comment: "Serving code never imports training or autodiff.",
      severity: "error",
      from: {
        path: "^src/(encoding/|pipeline.ts|generation/|runtime/|server/|sdk/)",
      },
      to: { path: "^src/(autodiff|training|fedmae)/" },
    },
    {
      name: "actions-load-when-they-run",
      comment: "The program knows all commands without loading what they do; only types may come from there.",
      severity: "error",
      from: { path: "^src/cli/(main.ts|program.ts|commands/)" },
      to: {
        path: "^src/(cli/actions/|index.ts|pipeline.ts|fedmae.ts|training/|server/)",
        dynamic: false,
        dependencyTypesNot: ["type-only"],
      },
    },
    {
      name: "sdk-needs-nothing",
      comment: "The client runs in browsers: of the rest it takes types and modules that need nothing themselves.",
      severity: "error",
      from: { path: "^src/sdk/" },
      to: {
        pathNot: "^src/(sdk/|core/(errors|modality|answer-stream|chunks).ts$|generation/option-table.ts$)",
        dependencyTypesNot: ["type-only", "core"],
      },
    },
    {
      name: "sdk-reads-files-lazily",
      comment: "One module may load node:fs, and browsers get another in its place.",
      severity: "error",
      from: { path: "^src/sdk/", pathNot: "^src/sdk/read-path.ts$" },
      to: { dependencyTypes: ["core"], dependencyTypesNot: ["type-only"] },
    },
    {
      name: "shared-with-browsers-needs-nothing",
      comment: "Browsers load them: with the client, and the table of options with the page, too.",
      severity: "error",
      from: { path: "^src/(core/errors|generation/option-table).ts$" },
      to: { path: "." },
    },
    confined("only-runtime-runs-onnx", "node_modules/onnxruntime-", "^src/runtime/"),
    confined("only-media-decodes", "node_modules/(sharp|ffmpeg-static|@ffmpeg-installer)", "^src/media/"),
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    doNotFollow: { path: "node_modules" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default", "types"],
    },
  },
};
