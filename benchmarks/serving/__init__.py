"""What the serving costs, apart from the network: `python -m benchmarks.serving`.

It starts all that it measures: the loopback Bot API with the people who talk to it (in this process), bots, workers
and Redis (its log synced to the disk before each answer) as processes of their own. The workers' device is simulated
(20 ms and 1 ms an item), so that bot and queue are measured; `--real` adds the real network.

* overhead: a photo at a time, against a bare aiogram loop that sleeps as long as the device works, in turns;
* queue: saturated workers without Telegram, against the device's own limit;
* load: photos of many people at several rates, and the ceiling beside the bare loop's;
* start: the bot to its first getUpdates, against `import aiogram`;
* memory: resident memory before and after 2,000 photos, and what they leave in Redis;
* fairness: in which batch a single photo is that comes after fifty of another person;
* crowd: 500 photos of 100 people at once: whether each person's answers come in order, and each one's last answer.
"""
