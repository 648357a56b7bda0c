package io.fraudctl.iam;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.time.Instant;
import java.util.*;
import java.util.regex.Pattern;

/**
 * The roles that may log in and what their policies say, from a file that tests/iam_broker.py writes and may write anew. A line
 * is one of these, with tabs between:
 * <pre>
 * cluster REGION ARN
 * key     ACCESS_KEY SECRET SESSION_TOKEN ROLE
 * Allow   ROLE ACTION RESOURCE
 * Deny    ROLE ACTION RESOURCE
 * </pre>
 * Stars and question marks in action and resource are wildcards, as IAM has them. What is decided goes to a log, a line each.
 */
final class IamRoles {
  record Key(String secret, String token, String role) {}

  private record Rule(boolean allows, String role, Pattern action, Pattern resource) {}

  // What an action needs beside itself: "Required actions" of the MSK developer guide, kafka-actions.md.
  private static final Map<String, List<String>> NEEDS = Map.ofEntries(
      Map.entry("AlterCluster", List.of("DescribeCluster")),
      Map.entry("AlterClusterDynamicConfiguration", List.of("DescribeClusterDynamicConfiguration")),
      Map.entry("WriteDataIdempotently", List.of("WriteData")),
      Map.entry("AlterTopic", List.of("DescribeTopic")),
      Map.entry("DeleteTopic", List.of("DescribeTopic")),
      Map.entry("AlterTopicDynamicConfiguration", List.of("DescribeTopicDynamicConfiguration")),
      Map.entry("ReadData", List.of("DescribeTopic", "AlterGroup")),
      Map.entry("WriteData", List.of("DescribeTopic")),
      Map.entry("AlterGroup", List.of("DescribeGroup")),
      Map.entry("DeleteGroup", List.of("DescribeGroup")),
      Map.entry("AlterTransactionalId", List.of("DescribeTransactionalId", "WriteData")));
  private static IamRoles loaded;
  private static long modified;

  private final Map<String, Key> keys = new HashMap<>();
  private final List<Rule> rules = new ArrayList<>();
  private String region = "", cluster = "";

  /** Returns what the file says now. */
  static synchronized IamRoles now() {
    Path file = Path.of(System.getProperty("iam.roles"));
    try {
      long found = Files.getLastModifiedTime(file).toMillis();
      if (loaded == null || found != modified) {
        loaded = new IamRoles(Files.readAllLines(file));
        modified = found;
      }
      return loaded;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private IamRoles(List<String> lines) {
    for (String line : lines) {
      String[] field = line.split("\t");
      switch (field[0]) {
        case "cluster" -> { region = field[1]; cluster = field[2]; }
        case "key" -> keys.put(field[1], new Key(field[2], field[3], field[4]));
        case "Allow", "Deny" -> rules.add(new Rule(field[0].equals("Allow"), field[1],
            glob(field[2], Pattern.CASE_INSENSITIVE), glob(field[3], 0)));
        default -> throw new IllegalArgumentException(line);
      }
    }
  }

  String region() { return region; }

  Key key(String accessKey) { return keys.get(accessKey); }

  String cluster() { return cluster; }

  /** Returns the ARN of a topic, a group or a transactional id of the cluster. */
  String arn(String kind, String name) { return cluster.replace(":cluster/", ":" + kind + "/") + "/" + name; }

  /** Returns the first action that is missing for this one to be allowed on a resource, or null. */
  String missing(String role, String action, String arn) {
    if (!allows(role, action, arn)) return action;
    if (!allows(role, "Connect", cluster)) return "Connect";
    for (String needed : NEEDS.getOrDefault(action, List.of())) {
      String missing = sameKind(action, needed) ? missing(role, needed, arn) : anywhere(role, needed) ? null : needed;
      if (missing != null) return missing;
    }
    return null;
  }

  /** Writes one line to the log. */
  static synchronized void log(String... fields) {
    try {
      Files.write(Path.of(System.getProperty("iam.log")), (Instant.now() + "\t" + String.join("\t", fields) + "\n")
          .getBytes(StandardCharsets.UTF_8), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private boolean allows(String role, String action, String arn) {
    boolean allowed = false;
    for (Rule rule : rules) {
      if (!rule.role.equals(role) || !rule.action.matcher("kafka-cluster:" + action).matches()) continue;
      if (!rule.resource.matcher(arn).matches()) continue;
      if (!rule.allows) return false;
      allowed = true;
    }
    return allowed;
  }

  private boolean anywhere(String role, String action) {
    return rules.stream().anyMatch(rule -> rule.allows && rule.role.equals(role)
        && rule.action.matcher("kafka-cluster:" + action).matches());
  }

  private static boolean sameKind(String action, String needed) { return kind(action).equals(kind(needed)); }

  private static String kind(String action) {
    if (action.contains("TransactionalId")) return "transactional-id";
    if (action.endsWith("Group")) return "group";
    return action.contains("Topic") || action.equals("ReadData") || action.equals("WriteData") ? "topic" : "cluster";
  }

  private static Pattern glob(String text, int flags) {
    StringBuilder pattern = new StringBuilder();
    for (char c : text.toCharArray()) {
      pattern.append(c == '*' ? ".*" : c == '?' ? "." : Pattern.quote(String.valueOf(c)));
    }
    return Pattern.compile(pattern.toString(), flags);
  }
}
