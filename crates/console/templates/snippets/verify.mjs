import { createHmac, timingSafeEqual } from "node:crypto";

function matches(key, signed, hex) {
  const mac = createHmac("sha256", key).update(signed).digest();
  const given = Buffer.from(hex, "hex");
  return given.length === mac.length && timingSafeEqual(given, mac);
}

// signature: the object of this name in the body
export const isOurs = (key, { timestamp, token, signature }) =>
  matches(key, timestamp + token, signature);

// body: the bytes as they came; xSign: the header X-Sign
export const isOurAlert = (key, body, xSign) => matches(key, body, xSign);
