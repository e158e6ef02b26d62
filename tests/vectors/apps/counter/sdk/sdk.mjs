// Makes every public call of dstack's JavaScript SDK once, then serves what each gave as one JSON document.
import http from "node:http";
import { DstackClient, TappdClient } from "@phala/dstack-sdk";

const REPORT_DATA = "node";
const client = new DstackClient();
const legacy = new TappdClient();
const results = {};

async function call(name, work) {
  try {
    results[name] = { ok: (await work()) ?? null };
  } catch (error) {
    results[name] = { failed: String(error) };
  }
}

async function replayed(quote) {
  const answer = await quote;
  return { ...answer, replayed: answer.replayRtmrs() };
}

await call("version", () => client.version());
await call("info", () => client.info());
await call("quote", () => replayed(client.getQuote(REPORT_DATA)));
await call("attest", () => client.attest(REPORT_DATA));
await call("reachable", () => client.isReachable());
await call("event", () => client.emitEvent("sdk-node", "said by node"));
await call("quote after the event", () => replayed(client.getQuote(REPORT_DATA)));
await call("key", () => client.getKey("some/path", "some purpose"));
await call("tls key", () => client.getTlsKey({ subject: "example" }));
await call("sign", () => client.sign("ed25519", "data"));
await call("legacy info", () => legacy.info());
await call("legacy quote", () => replayed(legacy.tdxQuote(REPORT_DATA, "raw")));
await call("legacy key", () => legacy.deriveKey("some/path"));

const document = JSON.stringify(results);
http.createServer((_, response) => response.end(document)).listen(8082);
