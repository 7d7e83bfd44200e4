<?php
// Which real server answered, and by which address it was reached.
$node = gethostname();
header("X-Real-Server: $node");
header('Cache-Control: no-store');
?>
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title><?= htmlspecialchars($node) ?></title></head>
<body>
<h1><?= htmlspecialchars($node) ?></h1>
<p>Real server <b><?= htmlspecialchars($node) ?></b> (<?= $_SERVER['SERVER_ADDR'] ?>)
answered client <?= $_SERVER['REMOTE_ADDR'] ?> at <?= gmdate('H:i:s') ?> UTC.</p>
</body>
</html>
