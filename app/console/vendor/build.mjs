// Makes ../static/vendor from the packages of package-lock.json. Only for those who change a version:
//   npm ci --ignore-scripts && node build.mjs
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const packages = join(here, "node_modules");
const target = join(here, "..", "static", "vendor");
const lock = JSON.parse(readFileSync(join(here, "package-lock.json"), "utf8")).packages;
const sha256 = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: ["markdown", "preact", "schemas", "plot"].map((name) => join("entries", `${name}.js`)),
  outdir: target,
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  metafile: true,
  chunkNames: "shared-[hash]",
});
copyFileSync(join(packages, "uplot", "dist", "uPlot.min.css"), join(target, "plot.css"));

const used = new Set(["uplot"]);
for (const input of Object.keys(metafile.inputs)) {
  const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
  if (found) used.add(found[1]);
}

const libraries = [...used].sort().map((name) => {
  const { version, license } = JSON.parse(readFileSync(join(packages, name, "package.json"), "utf8"));
  return { name, version, licence: license, integrity: lock[`node_modules/${name}`].integrity };
});

const licences = libraries.map(({ name, version, licence }) => {
  const file = readdirSync(join(packages, name)).find((entry) => /^licen[sc]e/i.test(entry));
  const text = file ? readFileSync(join(packages, name, file), "utf8").trim() : `Licence: ${licence}`;
  return `${name} ${version} (${licence})\n\n${text}\n`;
});
writeFileSync(join(target, "LICENCES.txt"), licences.join(`\n${"=".repeat(80)}\n\n`));

const files = Object.fromEntries(readdirSync(target).sort().map((name) => [name, sha256(join(target, name))]));
writeFileSync(join(target, "manifest.json"), `${JSON.stringify({ libraries, files }, null, 2)}\n`);
