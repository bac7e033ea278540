import { expect, test } from "vitest";
import { backportsSource } from "./debian.mjs";

const stanzas = `Types: deb
# a comment
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.invalid/debian-security
Suites: bookworm-security
Components: main
`;

test("backports come from the mirror and with the key of the system's deb822 sources", () => {
  expect(backportsSource(["", stanzas])).toEqual({
    name: "bookworm-backports.sources",
    text: `Types: deb
URIs: http://mirror.invalid/debian
Suites: bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`,
  });
});

test("backports come from the mirror of one-line sources", () => {
  const lines =
    "# deb http://old.invalid/debian bookworm main\ndeb [arch=amd64] http://mirror.invalid/debian bookworm main\n";
  expect(backportsSource([lines])).toEqual({
    name: "bookworm-backports.list",
    text: "deb [arch=amd64] http://mirror.invalid/debian bookworm-backports main\n",
  });
});

test("backports that are there already are left alone, and a commented line does not count", () => {
  expect(backportsSource([stanzas, "Suites: bookworm-backports\n"])).toBeNull();
  expect(backportsSource([stanzas, "# bookworm-backports\n"])).not.toBeNull();
});

test("without a mirror of bookworm the error says so", () => {
  expect(() => backportsSource(["deb http://mirror.invalid/ubuntu noble main\n"])).toThrow("no Debian mirror");
});
