# $timestamp, $token: from the object "signature" in the body; prints its "signature"
printf '%s' "$timestamp$token" | openssl dgst -sha256 -hmac "$key" -r | cut -d' ' -f1

# body.bin: an alert's body as it came; prints the header X-Sign
openssl dgst -sha256 -hmac "$key" -r body.bin | cut -d' ' -f1
