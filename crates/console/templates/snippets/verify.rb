require "openssl"

# signature: the object of this name in the body
def ours?(key, signature)
  our_alert?(key, signature["timestamp"] + signature["token"], signature["signature"])
end

# body: the bytes as they came; x_sign: the header X-Sign
def our_alert?(key, body, x_sign)
  mac = OpenSSL::HMAC.hexdigest("SHA256", key, body)
  x_sign.bytesize == mac.bytesize && OpenSSL.fixed_length_secure_compare(mac, x_sign)
end
