<?php
// $signature: the object of this name in the body, as an array
function is_ours(string $key, array $signature): bool {
    $signed = $signature['timestamp'] . $signature['token'];
    return hash_equals(hash_hmac('sha256', $signed, $key), $signature['signature']);
}

// $body: the bytes as they came; $x_sign: the header X-Sign
function is_our_alert(string $key, string $body, string $x_sign): bool {
    return hash_equals(hash_hmac('sha256', $body, $key), $x_sign);
}
