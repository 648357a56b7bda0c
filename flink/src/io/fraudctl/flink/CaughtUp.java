package io.fraudctl.flink;

import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.flink.api.common.eventtime.*;
import org.apache.flink.api.connector.source.*;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplit;
import org.apache.flink.core.io.*;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.InterruptException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.slf4j.LoggerFactory;

/**
 * A Kafka source whose watermarks are the clock: the publish time up to which its partitions are read for certain.
 *
 * <p>Silence proves nothing, since a slow reader is silent too. So the broker is asked for the end offsets, at the start and then
 * all the time: a partition that is read to the end it had at some moment is read up to that moment, and a backlog ends without
 * another record. Until it is read to the end it had at the start, a partition's clock stays slack behind; this takes back the
 * slack by which {@link Detection} decides early, so a backlog is decided exactly.
 */
@SuppressWarnings("serial")
final class CaughtUp<S> implements Source<Event, KafkaPartitionSplit, S> {
  private static final long ASK_EVERY_MS = 250, STALLED_MS = 1000;
  private static final Duration READ_AHEAD = Duration.ofMinutes(30); // bounds what waits in the state, and how fast time runs
  private final Source<Event, KafkaPartitionSplit, S> source;
  private final Properties client = new Properties();
  private final long slack;
  private transient Map<Integer, Progress> partitions; // of this subtask; one topic

  CaughtUp(Source<Event, KafkaPartitionSplit, S> source, Properties consumer, long slack) {
    this.source = source;
    this.slack = slack;
    client.putAll(consumer);
    client.put("max.partition.fetch.bytes", "1"); // it only ever looks whether there is a record
  }

  /** The watermarks; they belong to this very object as the source. */
  WatermarkStrategy<Event> watermarks() {
    return WatermarkStrategy.<Event>forGenerator(context -> new Generator())
        .withWatermarkAlignment("input", READ_AHEAD, Duration.ofSeconds(1));
  }

  /** How far one partition is read. The task writes the first two, the thread that asks the others. */
  private static final class Progress {
    final TopicPartition partition;
    volatile long position, newest = Long.MIN_VALUE; // the next offset to read; the publish time of the last record read
    volatile long upTo = Long.MIN_VALUE; // a moment whose end is reached; none before that of the start
    long asked, end = -1; // the end at the moment of asking
    long seen = -1, visible; // the position at the last look; transaction markers take offsets too: no record before this one

    Progress(KafkaPartitionSplit split) {
      partition = split.getTopicPartition();
      position = Math.max(0, split.getStartingOffset()); // negative: from the beginning
    }

    boolean reached() {
      return Math.max(position, visible) >= end;
    }

    long clock(long slack) {
      if (upTo > Long.MIN_VALUE) return Math.max(newest, upTo - slack / 5 + 1) - 1; // the broker's clock may be a little behind
      return newest == Long.MIN_VALUE ? newest : newest - 1 - slack;
    }
  }

  /** Flink makes one for each partition, without saying for which, and one more that no record ever reaches. */
  private final class Generator implements WatermarkGenerator<Event> {
    private Progress mine;

    @Override
    public void onEvent(Event event, long timestamp, WatermarkOutput output) {
      if (mine == null) mine = partitions.get(event.partition());
      mine.newest = Math.max(mine.newest, event.published());
      mine.position = event.offset() + 1;
    }

    @Override
    public void onPeriodicEmit(WatermarkOutput output) {
      Collection<Progress> all = mine != null ? List.of(mine) : partitions.values();
      long clock = all.stream().mapToLong(progress -> progress.clock(slack)).min().orElse(Long.MIN_VALUE);
      if (clock > Long.MIN_VALUE) output.emitWatermark(new Watermark(clock));
    }
  }

  /** The Kafka source's own reader, and beside it the thread that asks. */
  private final class Reader implements SourceReader<Event, KafkaPartitionSplit> {
    private final SourceReader<Event, KafkaPartitionSplit> reader;
    private final Thread asking = new Thread(this::ask, "end-offsets");

    Reader(SourceReader<Event, KafkaPartitionSplit> reader) {
      this.reader = reader;
      asking.setDaemon(true);
    }

    private void ask() {
      while (true) {
        try (var consumer = new KafkaConsumer<>(client, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
          for (; ; Thread.sleep(ASK_EVERY_MS)) ask(consumer);
        } catch (InterruptedException | InterruptException e) {
          return;
        } catch (KafkaException e) {
          LoggerFactory.getLogger(CaughtUp.class).warn("the end offsets are not known, asking again", e);
        }
      }
    }

    private void ask(KafkaConsumer<?, ?> consumer) {
      long now = System.currentTimeMillis();
      Map<TopicPartition, Progress> again = new HashMap<>();
      for (Progress progress : partitions.values()) {
        if (!progress.reached() && progress.position == progress.seen && progress.asked + STALLED_MS < now) {
          consumer.assign(List.of(progress.partition));
          consumer.seek(progress.partition, progress.position);
          boolean nothing = consumer.poll(Duration.ofMillis(ASK_EVERY_MS)).isEmpty();
          if (nothing) progress.visible = consumer.position(progress.partition);
        }
        progress.seen = progress.position;
        if (!progress.reached()) continue;
        if (progress.end >= 0) progress.upTo = progress.asked;
        again.put(progress.partition, progress);
      }
      consumer.endOffsets(again.keySet()).forEach((partition, end) -> {
        again.get(partition).asked = now;
        again.get(partition).end = end;
      });
    }

    @Override
    public void start() {
      reader.start();
      asking.start();
    }

    @Override
    public void addSplits(List<KafkaPartitionSplit> splits) {
      for (KafkaPartitionSplit split : splits) partitions.put(split.getPartition(), new Progress(split));
      reader.addSplits(splits);
    }

    @Override
    public void close() throws Exception {
      asking.interrupt();
      reader.close();
    }

    @Override public InputStatus pollNext(ReaderOutput<Event> output) throws Exception { return reader.pollNext(output); }
    @Override public List<KafkaPartitionSplit> snapshotState(long id) { return reader.snapshotState(id); }
    @Override public CompletableFuture<Void> isAvailable() { return reader.isAvailable(); }
    @Override public void notifyNoMoreSplits() { reader.notifyNoMoreSplits(); }
    @Override public void notifyCheckpointComplete(long id) throws Exception { reader.notifyCheckpointComplete(id); }
    @Override public void pauseOrResumeSplits(Collection<String> a, Collection<String> b) { reader.pauseOrResumeSplits(a, b); }
  }

  @Override
  public SourceReader<Event, KafkaPartitionSplit> createReader(SourceReaderContext context) throws Exception {
    partitions = new ConcurrentHashMap<>();
    return new Reader(source.createReader(context));
  }

  @Override public Boundedness getBoundedness() { return source.getBoundedness(); }
  @Override
  public SplitEnumerator<KafkaPartitionSplit, S> createEnumerator(SplitEnumeratorContext<KafkaPartitionSplit> context)
      throws Exception { return source.createEnumerator(context); }

  @Override
  public SplitEnumerator<KafkaPartitionSplit, S> restoreEnumerator(SplitEnumeratorContext<KafkaPartitionSplit> context, S state)
      throws Exception { return source.restoreEnumerator(context, state); }

  @Override
  public SimpleVersionedSerializer<S> getEnumeratorCheckpointSerializer() { return source.getEnumeratorCheckpointSerializer(); }

  @Override public SimpleVersionedSerializer<KafkaPartitionSplit> getSplitSerializer() { return source.getSplitSerializer(); }
}
