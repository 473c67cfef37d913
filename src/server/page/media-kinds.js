import { make } from "./make-element.js";

/** @typedef {import("../../wire.js").TextAnswer["modality"]} MediaKind */

/**
 * What the page has to know of a kind of media: its name in sentences, what to choose from, and how it is shown.
 *
 * @typedef {object} KindOfMedium
 * @property {string} one
 * @property {string} many
 * @property {string} accept
 * @property {(url: string, name: string) => HTMLElement} show
 * @property {(url: string, name: string) => HTMLElement} offer to click on
 */

/** @type {Readonly<Record<MediaKind, KindOfMedium>>} */
export const mediaKinds = {
  image: {
    one: "a picture",
    many: "pictures",
    accept: "image/*",
    show: showImage,
    offer: (url, name) => make("img", { src: url, alt: altText(name) }),
  },
  audio: {
    one: "a sound",
    many: "sounds",
    accept: "audio/*",
    show: (url, name) => make("audio", { src: url, controls: "", "aria-label": altText(name) }),
    offer: (_, name) => make("span", { class: "sound" }, altText(name)),
  },
  video: {
    one: "a video",
    many: "videos",
    accept: "video/*",
    show: (url, name) => silentVideo(url, name, { controls: "", loop: "" }),
    offer: (url, name) => silentVideo(url, name),
  },
};

/** In the order in which they are named. */
const kinds = /** @type {MediaKind[]} */ (Object.keys(mediaKinds));

/**
 * @param {string} url
 * @param {string} name
 */
function showImage(url, name) {
  const image = make("img", { src: url, alt: altText(name) });
  // The style sheet makes it as large as there is room; for that it has to know the shape.
  const tellShape = () => image.style.setProperty("--ratio", String(image.naturalWidth / image.naturalHeight));
  image.addEventListener("load", tellShape, { once: true });
  return image;
}

/**
 * Models look at a video and do not listen to it.
 *
 * @param {string} url
 * @param {string} name
 * @param {Readonly<Record<string, string>>} attributes
 */
function silentVideo(url, name, attributes = {}) {
  const video = make("video", {
    playsinline: "",
    preload: "auto",
    "aria-label": altText(name),
    ...attributes,
  });
  // The attribute would come too late for an element that is there already.
  video.muted = true;
  video.addEventListener(
    "loadedmetadata",
    () => video.style.setProperty("--ratio", String(video.videoWidth / (video.videoHeight || 1) || 1)),
    { once: true },
  );
  video.src = url;
  return video;
}

/**
 * The kind that the browser takes a file for; undefined where it is none of them. The service looks at the bytes
 * themselves, so that this decides only what can be said without asking it.
 *
 * @param {Blob} file
 * @returns {MediaKind | undefined}
 */
export function kindOf(file) {
  const [type = ""] = file.type.split("/");
  return kinds.find((kind) => kind === type);
}

/**
 * What the service may take a file for, the best first, as far as its type tells: an animation is a video as well, and a
 * video may have a sound, or be nothing else. All kinds where the type says nothing.
 *
 * @param {Blob} file
 * @returns {readonly MediaKind[]}
 */
function possibleKinds(file) {
  if (file.type === "image/gif" || file.type === "image/webp") return ["image", "video"];
  const kind = kindOf(file);
  if (kind === undefined) return kinds;
  return kind === "video" ? ["video", "audio"] : [kind];
}

/**
 * What a model most likely takes a file for; undefined where its type leaves it open.
 *
 * @param {Blob} file
 * @param {readonly MediaKind[]} taken
 */
export function likelyKind(file, taken) {
  if (kindOf(file) === undefined && taken.length > 1) return undefined;
  return possibleKinds(file).find((kind) => taken.includes(kind));
}

/**
 * Why a model does not take a file, or undefined where it may.
 *
 * @param {File} file
 * @param {{ readonly name: string, readonly modalities: readonly MediaKind[] }} model
 */
export function whyNot(file, { name, modalities }) {
  if (possibleKinds(file).some((kind) => modalities.includes(kind))) return undefined;
  const one = mediaKinds[kindOf(file) ?? "image"].one;
  const many = modalities.map((kind) => mediaKinds[kind].many).join(" and ");
  return `${file.name} is ${one}. The model “${name}” takes ${many} only.`;
}

/**
 * Kinds in a sentence: `a picture, a sound or a video`.
 *
 * @param {readonly MediaKind[]} taken
 */
export function anyOf(taken) {
  const names = kinds.filter((kind) => taken.includes(kind)).map((kind) => mediaKinds[kind].one);
  const last = names.pop() ?? mediaKinds.image.one;
  return names.length === 0 ? last : `${names.join(", ")} or ${last}`;
}

/**
 * What can be said of a medium before the model does: the file's name in words.
 *
 * @param {string} name
 */
export function altText(name) {
  return name.replace(/\.\w+$/, "").replace(/[-_]+/g, " ");
}
