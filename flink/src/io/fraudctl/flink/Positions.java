package io.fraudctl.flink;

import java.io.DataInputStream;
import java.nio.file.*;
import org.apache.flink.connector.kafka.source.split.*;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.core.io.SimpleVersionedSerialization;
import org.apache.flink.runtime.checkpoint.*;
import org.apache.flink.runtime.state.OperatorStateHandle;

/**
 * Prints where the sources go on from a snapshot, as "topic partition offset" lines: the one record of it that is there exactly
 * when the snapshot is. What the consumer group has committed may be older, or be missing after a stop.
 */
public final class Positions {
  private static final String SPLITS = "SourceReaderState"; // SourceOperator's name for the list of its splits

  /** Takes the snapshot's folder. */
  public static void main(String[] arguments) throws Exception {
    Path folder = Path.of(arguments[0]);
    try (var in = new DataInputStream(Files.newInputStream(folder.resolve("_metadata")))) {
      var metadata = Checkpoints.loadCheckpointMetadata(in, Positions.class.getClassLoader(), "file://" + folder);
      for (OperatorState operator : metadata.getOperatorStates()) {
        for (OperatorSubtaskState subtask : operator.getStates()) {
          for (OperatorStateHandle handle : subtask.getManagedOperatorState()) print(handle);
        }
      }
    }
  }

  private static void print(OperatorStateHandle handle) throws Exception {
    var splits = handle.getStateNameToPartitionOffsets().get(SPLITS);
    if (splits == null) return;
    try (FSDataInputStream in = handle.openInputStream(); var data = new DataInputStream(in)) {
      for (long offset : splits.getOffsets()) {
        in.seek(offset);
        byte[] bytes = data.readNBytes(data.readInt());
        var split = SimpleVersionedSerialization.readVersionAndDeSerialize(new KafkaPartitionSplitSerializer(), bytes);
        System.out.println(split.getTopic() + " " + split.getPartition() + " " + split.getStartingOffset());
      }
    }
  }
}
