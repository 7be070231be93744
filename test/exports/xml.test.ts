import fc from "fast-check";
import { parse } from "junit2json";
import { expect, it } from "vitest";
import { cdata, xmlElement, xmlText } from "../../src/exports/xml.ts";

/** What a parser makes of an attribute and of a failure's content. */
async function parsed(message: string, details: string) {
  const failure = xmlElement("failure", { message }, details);
  const suite = xmlElement("testsuite", { name: "s" }, xmlElement("testcase", { name: "t" }, failure));
  const suites = await parse(xmlElement("testsuites", {}, suite));
  return suites && "testsuite" in suites ? suites.testsuite?.[0]?.testcase?.[0]?.failure?.[0] : undefined;
}

// Tabs and line ends in attributes, and blanks around content, are the parser's to fold.
const text = fc.string({ unit: "grapheme", minLength: 1 }).filter((one) => !/[\s\p{C}]/u.test(one));

it("whatever stands in an attribute or in a CDATA section comes back as it was", async () => {
  await fc.assert(
    fc.asyncProperty(text, text, async (message, details) => {
      expect(await parsed(message, cdata(`${details}]]>&<`))).toEqual({
        message,
        inner: `${details}]]>&<`,
      });
    }),
  );
});

it("characters that XML has no way to write are replaced", () => {
  expect(xmlText("a\u0000b\u001bc\ufffe\ud800")).toBe("a\ufffdb\ufffdc\ufffd\ufffd");
  expect(cdata("\u0008")).toBe("<![CDATA[\ufffd]]>");
});

it("attributes without a value are left out, and an element without content closes itself", () => {
  expect(xmlElement("a", { b: 1, c: undefined, d: 'x"<' })).toBe('<a b="1" d="x&quot;&lt;"/>');
});
