import { make } from "./make-element.js";

/** @typedef {import("../../wire.js").MediaField} MediaKind */

/**
 * What the page has to know of a kind of media: its name in sentences, what to choose from, and how it is shown.
 *
 * @typedef {object} KindOfMedium
 * @property {string} one
 * @property {string} many
 * @property {string} accept
 * @property {(url: string, name: string) => HTMLElement} show
 */

/** @type {Readonly<Record<MediaKind, KindOfMedium>>} */
export const mediaKinds = {
  image: {
    one: "a picture",
    many: "pictures",
    accept: "image/*",
    show: showImage,
  },
  audio: {
    one: "a recording",
    many: "recordings",
    accept: "audio/*",
    show: (url) => make("audio", { src: url, controls: "" }),
  },
  video: {
    one: "a film",
    many: "films",
    accept: "video/*",
    show: (url) => make("video", { src: url, controls: "", playsinline: "" }),
  },
};

/**
 * @param {string} url
 * @param {string} name
 */
function showImage(url, name) {
  const image = make("img", { src: url, alt: altText(name) });
  // The style sheet makes it as large as there is room; for that it has to know the shape.
  const tellShape = () =>
    image.style.setProperty("--ratio", String(image.naturalWidth / image.naturalHeight));
  image.addEventListener("load", tellShape, { once: true });
  return image;
}

/**
 * The kind that the browser takes a file for; undefined where it is none of them. The service looks at the bytes
 * themselves, so that this decides only what can be said without asking it.
 *
 * @param {Blob} file
 * @returns {MediaKind | undefined}
 */
export function kindOf(file) {
  const [kind = ""] = file.type.split("/");
  return kind === "image" || kind === "audio" || kind === "video" ? kind : undefined;
}

/**
 * Why a model does not take a file, or undefined where it may.
 *
 * @param {File} file
 * @param {{ readonly name: string, readonly modality: MediaKind }} model
 */
export function whyNot(file, model) {
  const kind = kindOf(file);
  if (kind === undefined || kind === model.modality) return undefined;
  const { one } = mediaKinds[kind];
  return `${file.name} is ${one}. The model “${model.name}” takes ${mediaKinds[model.modality].many} only.`;
}

/**
 * What can be said of a picture before the model does: the file's name in words.
 *
 * @param {string} name
 */
export function altText(name) {
  return name.replace(/\.\w+$/, "").replace(/[-_]+/g, " ");
}
