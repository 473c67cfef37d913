import { make } from "./make-element.js";

/** @typedef {import("../../wire.js").TextAnswer["modality"]} MediaKind */

/**
 * The properties of a kind of media: its name in sentences, the `accept` filter, and how it is displayed.
 *
 * @typedef {object} KindOfMedium
 * @property {string} one
 * @property {string} many
 * @property {string} accept
 * @property {(url: string, name: string) => HTMLElement} show
 * @property {(url: string, name: string) => HTMLElement} offer the preview on a sample button
 */

/** @type {Readonly<Record<MediaKind, KindOfMedium>>} */
export const mediaKinds = {
  image: {
    one: "an image",
    many: "images",
    accept: "image/*",
    show: showImage,
    offer: (url, name) => make("img", { src: url, alt: altText(name) }),
  },
  audio: {
    one: "an audio file",
    many: "audio files",
    accept: "audio/*",
    show: (url, name) => make("audio", { src: url, controls: "", "aria-label": altText(name) }),
    offer: (_, name) => make("span", { class: "sound" }, altText(name)),
  },
  video: {
    one: "a video",
    many: "videos",
    accept: "video/*",
    show: (url, name) => silentVideo(url, name, { controls: "", loop: "", ...(wantsMotion() ? { autoplay: "" } : {}) }),
    offer: (url, name) => silentVideo(url, name),
  },
};

/** In the order in which sentences list them. */
const kinds = /** @type {MediaKind[]} */ (Object.keys(mediaKinds));

/**
 * @param {string} url
 * @param {string} name
 */
function showImage(url, name) {
  const image = make("img", { src: url, alt: altText(name) });
  // The style sheet needs the aspect ratio to enlarge the image to the available space.
  const tellShape = () => image.style.setProperty("--ratio", String(image.naturalWidth / image.naturalHeight));
  image.addEventListener("load", tellShape, { once: true });
  return image;
}

function wantsMotion() {
  return matchMedia("(prefers-reduced-motion: no-preference)").matches;
}

/**
 * The video is muted, because models use only its frames.
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
  // The attribute `muted` has no effect on an element that already exists.
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
 * Returns the kind of a file according to the browser; undefined if it is another type. The service detects the kind
 * from the bytes; the page uses this guess only before it has an answer of the service.
 *
 * @param {Blob} file
 * @returns {MediaKind | undefined}
 */
export function kindOf(file) {
  const [type = ""] = file.type.split("/");
  return kinds.find((kind) => kind === type);
}

/**
 * Returns the kinds that the service may detect in a file of this type, most likely first: an animated image can be a
 * video, and a video file can contain audio, or audio only. Returns all kinds if the type is unknown.
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
 * Returns the most likely kind of a file, among those that the model accepts; undefined if the type is unknown.
 *
 * @param {Blob} file
 * @param {readonly MediaKind[]} taken kinds that the model accepts
 */
export function likelyKind(file, taken) {
  if (kindOf(file) === undefined && taken.length > 1) return undefined;
  return possibleKinds(file).find((kind) => taken.includes(kind));
}

/**
 * Explains why a model does not accept a file; undefined if it may accept the file.
 *
 * @param {File} file
 * @param {{ readonly name: string, readonly modalities: readonly MediaKind[] }} model
 */
export function whyNot(file, { name, modalities }) {
  if (possibleKinds(file).some((kind) => modalities.includes(kind))) return undefined;
  const one = mediaKinds[kindOf(file) ?? "image"].one;
  const many = modalities.map((kind) => mediaKinds[kind].many).join(" and ");
  return `${file.name} is ${one}. The model “${name}” only accepts ${many}.`;
}

/**
 * Lists kinds in a sentence: `an image, an audio file or a video`.
 *
 * @param {readonly MediaKind[]} taken kinds that the model accepts
 */
export function anyOf(taken) {
  const names = kinds.filter((kind) => taken.includes(kind)).map((kind) => mediaKinds[kind].one);
  const last = names.pop() ?? mediaKinds.image.one;
  return names.length === 0 ? last : `${names.join(", ")} or ${last}`;
}

/**
 * Describes a medium by the words in its file name, because there is no caption yet.
 *
 * @param {string} name
 */
export function altText(name) {
  return name.replace(/\.\w+$/, "").replace(/[-_]+/g, " ");
}
