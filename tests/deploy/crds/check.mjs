// Checks objects of KEDA and of the Prometheus operator: check.mjs RENDERED.yaml ... Types and patterns by validate() of
// @kubernetes-models, which lets unknown fields pass; those are found by the types of TypeScript, on literals. Prints what
// was checked, by kind.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";

const PACKAGES = { "keda.sh": "@kubernetes-models/keda", "monitoring.coreos.com": "@kubernetes-models/prometheus-operator" };

// The module that has the class of an object; undefined for what isn't a custom resource.
function moduleOf(object) {
  const group = object.apiVersion.split("/")[0];
  return PACKAGES[group] && `${PACKAGES[group]}/${object.apiVersion}/${object.kind}`;
}

async function problems(objects) {
  const found = [];
  const literals = [];
  for (const [at, object] of objects.entries()) {
    const { [object.kind]: Class } = await import(moduleOf(object));
    try {
      new Class(object).validate();
    } catch (error) {
      found.push(`${object.kind}/${object.metadata.name}: ${error.message}`);
    }
    literals.push(`import { ${object.kind} as Class${at} } from "${moduleOf(object)}";`);
    const { apiVersion, kind, ...fields } = object;
    literals.push(`export const object${at} = new Class${at}(${JSON.stringify(fields, null, 2)});`);
  }
  const file = new URL("literals.ts", import.meta.url).pathname;
  writeFileSync(file, literals.join("\n"));
  const tsc = new URL("node_modules/typescript/bin/tsc", import.meta.url).pathname;
  const options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"];
  try {
    execFileSync(process.execPath, [tsc, ...options, file], { encoding: "utf8" });
  } catch (error) {
    found.push(error.stdout || error.message);
  }
  return found;
}

const objects = process.argv
  .slice(2)
  .flatMap((path) => parseAllDocuments(readFileSync(path, "utf8")).map((document) => document.toJS()))
  .filter((object) => object && moduleOf(object));
const found = await problems(objects);
if (found.length > 0) {
  console.error(found.join("\n"));
  process.exit(1);
}

// A check that finds nothing must be able to: an unknown field, and a value of another type.
const scaled = objects.find((object) => object.kind === "ScaledObject");
if (!scaled) throw new Error("there is no ScaledObject to check");
for (const wrong of [{ maxReplicas: 3 }, { maxReplicaCount: "3" }]) {
  const found = await problems([{ ...scaled, spec: { ...scaled.spec, ...wrong } }]);
  if (!found.join().includes(Object.keys(wrong)[0])) throw new Error(`not found to be wrong: ${JSON.stringify(wrong)}`);
}

const kinds = {};
for (const object of objects) kinds[object.kind] = (kinds[object.kind] ?? 0) + 1;
console.log(Object.entries(kinds).map(([kind, count]) => `${count} ${kind}`).join(", "));
