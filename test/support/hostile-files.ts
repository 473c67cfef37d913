/** Ways to damage audio and video files. */

export type Damage = readonly [name: string, bytes: Buffer];

/** A deterministic random number generator with values in [0, 1) (Park and Miller). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** Variants of the file: truncated, zeroed, with flipped bits, repeated, and with random bytes. */
export function damaged(file: Buffer): Damage[] {
  const random = numbers(file.length + 1);
  const changed = (name: string, change: (copy: Buffer) => void): Damage => {
    const copy = Buffer.from(file);
    change(copy);
    return [name, copy];
  };
  const at = (part: number) => Math.floor(file.length * part);
  return [
    ...[0.02, 0.1, 0.3, 0.6, 0.9, 0.99].map((part): Damage => [`cut at ${part}`, file.subarray(0, at(part))]),
    changed("zeroed behind its head", (copy) => copy.fill(0, 64)),
    changed("zeroed in the middle", (copy) => copy.fill(0, at(0.4), at(0.6))),
    changed("zeroed at its end", (copy) => copy.fill(0, at(0.7))),
    changed("all ones behind its head", (copy) => copy.fill(255, 48)),
    ...[1, 2, 3].map((time) =>
      changed(`flipped in 20 places, ${time}`, (copy) => {
        for (let flip = 0; flip < 20; flip++) {
          const place = 12 + Math.floor(random() * (copy.length - 12));
          copy[place] = (copy[place] ?? 0) ^ (1 << Math.floor(random() * 8));
        }
      }),
    ),
    changed("random in the first kilobyte", (copy) => {
      for (let place = 16; place < Math.min(1024, copy.length); place++) copy[place] = Math.floor(random() * 256);
    }),
    ["its tail put in front of itself", Buffer.concat([file.subarray(0, 64), file.subarray(at(0.5)), file])],
  ];
}

/** Overwrites each 4-byte number that is `behind` bytes after the name of a box. */
export function withBoxNumber(file: Buffer, box: string, behind: number, value: number): Buffer {
  const copy = Buffer.from(file);
  for (let place = copy.indexOf(box); place >= 0; place = copy.indexOf(box, place + 4)) {
    copy.writeUInt32BE(value, place + 4 + behind);
  }
  return copy;
}

/** Variants of an MP4 or QuickTime file that state enormous sizes, counts, times and frames. */
export function enormousMp4(file: Buffer): Damage[] {
  const huge = 0xff_ff_ff_f0;
  const boxes = ["moov", "trak", "mdia", "minf", "stbl", "mdat", "stsd", "stts", "stsz", "stsc", "stco"];
  const number = (box: string, behind: number, value: number): Damage => [
    `${box}: ${value} at ${behind}`,
    withBoxNumber(file, box, behind, value),
  ];
  return [
    ...boxes.flatMap((box) => [number(box, -8, huge), number(box, -8, 1), number(box, -8, 0x7f_ff_ff_ff)]),
    // Four bytes of version and flags precede the count.
    ...["stts", "stsc", "stco", "stsd", "ctts", "stss", "elst", "dref"].flatMap((box) => [
      number(box, 4, huge),
      number(box, 4, 0x0f_ff_ff_ff),
    ]),
    // `stsz` has one size for all samples, then the count.
    ["stsz: 2 ^ 28 of one byte", withBoxNumber(withBoxNumber(file, "stsz", 4, 1), "stsz", 8, 2 ** 28)],
    ["stsz: 2 ^ 24 of 4 GB", withBoxNumber(withBoxNumber(file, "stsz", 4, huge), "stsz", 8, 2 ** 24)],
    // `stts` has the number of samples, then the duration of each.
    number("stts", 8, huge),
    number("stts", 12, 0x7f_ff_ff_ff),
    number("mvhd", 16, huge),
    number("mvhd", 12, 1),
    number("mdhd", 12, 1),
    number("mdhd", 16, huge),
    number("stsc", 12, huge),
    number("stco", 8, huge),
  ];
}

/** Replaces the content of an MP4 box and updates the sizes of the boxes around it. */
export function withBoxContent(file: Buffer, path: readonly string[], content: Buffer): Buffer {
  const [name = "", ...inner] = path;
  const pieces: Buffer[] = [];
  for (let place = 0; place + 8 <= file.length; ) {
    const size = file.readUInt32BE(place);
    const box = file.subarray(place, place + size);
    pieces.push(
      box.toString("latin1", 4, 8) === name
        ? newBox(name, inner.length === 0 ? content : withBoxContent(box.subarray(8), inner, content))
        : box,
    );
    place += size;
  }
  return Buffer.concat(pieces);
}

function newBox(name: string, content: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(content.length + 8);
  head.write(name, 4, "latin1");
  return Buffer.concat([head, content]);
}

/** The content of a `dref` whose only entry is an alias to another file, in QuickTime's format. */
export function aliasTo(path: string): Buffer {
  const colons = Buffer.from(path.replaceAll("/", ":"));
  const alias = Buffer.concat([
    // Version and flags of the entry, fields that ffmpeg skips, names of the volume and the file, levels.
    Buffer.alloc(4),
    Buffer.alloc(10),
    Buffer.alloc(1 + 27),
    Buffer.alloc(12),
    Buffer.alloc(1 + 63),
    Buffer.alloc(16),
    Buffer.from([0, 0, 0, 0]),
    Buffer.alloc(16),
    Buffer.from([0, 2, colons.length >> 8, colons.length & 255]),
    colons,
    Buffer.alloc(colons.length % 2),
    Buffer.from([255, 255, 0, 0]),
    Buffer.alloc(160),
  ]);
  return Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]), newBox("alis", alias)]);
}

/** Files that make ffmpeg open other resources if it detects the format itself or is told the true format. */
export function pointers(file: string, address: string): Damage[] {
  const texts: Readonly<Record<string, string>> = {
    "hls of a file": `#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://${file}\n#EXT-X-ENDLIST\n`,
    "hls of an address": `#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n${address}/a.ts\n#EXT-X-ENDLIST\n`,
    "hls master": `#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n${address}/b.m3u8\n`,
    "hls with a key": `#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="${address}/key"\n#EXTINF:10,\n${file}\n`,
    "hls with concat": `#EXTM3U\n#EXTINF:10,\nconcat:${address}/head|subfile,,start,0,end,64,,:${file}\n`,
    "hls in avi": `#EXTM3U\n#EXTINF:10,\nGAB2${file}\n`,
    concat: `ffconcat version 1.0\nfile '${file}'\n`,
    "concat of an address": `ffconcat version 1.0\nfile '${address}/c.mp4'\n`,
    "plain concat": `file '${file}'\n`,
    dash: `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>${address}/d.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>`,
    sdp: `v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n`,
    pls: `[playlist]\nFile1=${address}/e.mp3\nNumberOfEntries=1\n`,
    asx: `<asx version="3.0"><entry><ref href="${address}/f.wma"/></entry></asx>`,
    "asf reference": `[Reference]\nRef1=${address}/g.wma\n`,
    smil: `<smil><body><video src="${address}/h.mp4"/></body></smil>`,
    xspf: `<playlist xmlns="http://xspf.org/ns/0/"><trackList><track><location>${address}/i</location></track></trackList></playlist>`,
    "ram list": `${address}/j.rm\n`,
    subtitles: `1\n00:00:00,000 --> 00:00:10,000\n<img src="${address}/k">\n`,
    "advanced subtitles": `[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.00,0:00:10.00,,,,,,,${file}\n`,
    metadata: `;FFMETADATA1\ntitle=${file}\n`,
    svg: `<svg xmlns="http://www.w3.org/2000/svg"><image href="${address}/l.png"/></svg>`,
    "magic of nothing": `CWS\x09${address}`,
  };
  const plain = Object.entries(texts).map(([name, text]): Damage => [name, Buffer.from(text)]);
  // The same content after the magic bytes of supported formats.
  const masks: Readonly<Record<string, string>> = {
    wav: "RIFF\xff\xff\xff\x7fWAVE",
    mp4: "\0\0\0\x18ftypisom\0\0\0\0isommp42",
    mp3: "ID3\x04\0\0\0\0\0\0",
    ogg: "OggS\0\x02",
    webm: "\x1aE\xdf\xa3",
    flv: "FLV\x01\x05\0\0\0\x09\0\0\0\0",
    asf: "\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    gif: "GIF89a",
  };
  const masked = Object.entries(masks).flatMap(([mask, head]) =>
    plain.slice(0, 9).map(([name, text]): Damage => {
      return [`${name} behind the head of ${mask}`, Buffer.concat([Buffer.from(head, "latin1"), text])];
    }),
  );
  return [...plain, ...masked];
}
