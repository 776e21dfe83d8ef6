import hashlib, hmac

def is_ours(key, signature):
    """signature: the object of this name in the body"""
    signed = signature["timestamp"] + signature["token"]
    mac = hmac.new(key.encode(), signed.encode(), hashlib.sha256)
    return hmac.compare_digest(mac.hexdigest(), signature["signature"])

def is_our_alert(key, body, x_sign):
    """body: the bytes as they came; x_sign: the header X-Sign"""
    mac = hmac.new(key.encode(), body, hashlib.sha256)
    return hmac.compare_digest(mac.hexdigest(), x_sign)
