package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// IsOurs takes the fields of the object signature in the body.
func IsOurs(key, timestamp, token, signature string) bool {
	return IsOurAlert(key, []byte(timestamp+token), signature)
}

// IsOurAlert takes the bytes as they came, and the header X-Sign.
func IsOurAlert(key string, body []byte, xSign string) bool {
	given, err := hex.DecodeString(xSign)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return err == nil && hmac.Equal(mac.Sum(nil), given)
}
