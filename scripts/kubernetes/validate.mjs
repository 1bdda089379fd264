// What the models' validators say of objects. Reads a list of [module, object], writes a list of
// lists of mistakes.
import { readFileSync } from "node:fs";

const mistakes = [];
for (const [module, thing] of JSON.parse(readFileSync(0, "utf8"))) {
    const models = await import(module);
    try {
        new models[thing.kind](thing).validate();
        mistakes.push([]);
    } catch (error) {
        mistakes.push([error.message]);
    }
}
process.stdout.write(JSON.stringify(mistakes));
