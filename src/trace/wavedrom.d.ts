/** The part of WaveDrom that `svg.ts` uses. */
declare module "wavedrom" {
  /** An element of an XML tree: name, attributes, children. */
  type Element = unknown[];

  const wavedrom: {
    renderAny(index: number, source: object, skin: object): Element;
    waveSkin: object;
    onml: { stringify(element: Element): string };
  };
  export default wavedrom;
}
