import { labelOf } from "../../os/input.ts";
import type { Way } from "../way.ts";

/** `--snapshot`: a saved VM. `layout` is that of raw bytes. */
export const FILE: Way<{ snapshot?: string | undefined; layout?: string | undefined }> = {
  options: {
    snapshot: {
      flags: "--snapshot <file>",
      description: "the target: a saved snapshot or raw bytes, read only",
    },
  },
  readOnly: ({ snapshot }) => labelOf(snapshot!),
  async open({ snapshot, layout }) {
    const { FileSource } = await import("./source.ts");
    return new FileSource(snapshot!, layout);
  },
};
