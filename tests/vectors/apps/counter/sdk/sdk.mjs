// Makes every public call of dstack's JavaScript SDK once, then serves what each gave as one JSON document; and encrypts
// a variable for another app where it is asked to.
import http from "node:http";
import https from "node:https";
import { DstackClient, TappdClient } from "@phala/dstack-sdk";
import { encryptEnvVars } from "@phala/dstack-sdk/encrypt-env-vars";
import { verifyEnvEncryptPublicKey } from "@phala/dstack-sdk/verify-env-encrypt-public-key";

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

// The KMS's signature says whose key it is, not its certificate.
function json(url) {
  return new Promise((resolve, reject) => {
    const request = https.get(url, { rejectUnauthorized: false }, async (response) => {
      resolve(JSON.parse(Buffer.concat(await response.toArray()).toString()));
    });
    request.on("error", reject);
  });
}

// What a deployer does.
async function envelope({ kms, app, name, value }) {
  const answer = await json(`${kms}/prpc/KMS.GetAppEnvEncryptPubKey?app_id=${app}`);
  const [key, signature] = [answer.public_key, answer.signature_v1].map((hex) => Buffer.from(hex, "hex"));
  const signer = verifyEnvEncryptPublicKey(key, signature, app, BigInt(answer.timestamp));
  return { signer, envelope: await encryptEnvVars([{ key: name, value }], answer.public_key) };
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
http
  .createServer(async ({ url }, response) => {
    const { pathname, searchParams } = new URL(url, "http://app");
    const asked = pathname === "/envelope" && (await envelope(Object.fromEntries(searchParams)).catch(String));
    response.end(asked ? JSON.stringify(asked) : document);
  })
  .listen(8082);
