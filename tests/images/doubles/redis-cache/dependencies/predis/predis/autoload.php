<?php
// In the place of Predis: the one command that the set-up gives, over the wire.

namespace Predis;

class PredisException extends \RuntimeException
{
}

final class Client
{
    public function __construct(private array $place)
    {
    }

    public function flushdb(): void
    {
        $wire = @fsockopen($this->place['host'], $this->place['port'], $number, $told, $this->place['timeout']);
        if (!$wire) {
            throw new PredisException($told);
        }
        foreach (["AUTH {$this->place['password']}", 'FLUSHDB'] as $command) {
            fwrite($wire, "$command\r\n");
            $answer = (string) fgets($wire);
            if ($answer !== "+OK\r\n") {
                throw new PredisException($answer);
            }
        }
    }
}
