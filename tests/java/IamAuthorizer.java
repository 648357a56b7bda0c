package io.fraudctl.iam;

import java.util.*;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import org.apache.kafka.common.Endpoint;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.security.auth.KafkaPrincipal;
import org.apache.kafka.server.authorizer.*;

/**
 * Decides as MSK does: each operation on a Kafka resource is an action on the resource's ARN, which the policies of the role
 * have to allow. The pairs are those of the MSK developer guide, kafka-actions.md ("equivalent to Apache Kafka's … ACL").
 * The broker itself, and a test's own client on the listener without TLS, are anonymous and may do anything.
 */
public final class IamAuthorizer implements Authorizer {
  private static final Map<ResourceType, Map<AclOperation, String>> ACTIONS = Map.of(
      ResourceType.CLUSTER, Map.of(
          AclOperation.DESCRIBE, "DescribeCluster", AclOperation.ALTER, "AlterCluster",
          AclOperation.DESCRIBE_CONFIGS, "DescribeClusterDynamicConfiguration",
          AclOperation.ALTER_CONFIGS, "AlterClusterDynamicConfiguration",
          AclOperation.IDEMPOTENT_WRITE, "WriteDataIdempotently"),
      ResourceType.TOPIC, Map.of(
          AclOperation.CREATE, "CreateTopic", AclOperation.DESCRIBE, "DescribeTopic", AclOperation.ALTER, "AlterTopic",
          AclOperation.DELETE, "DeleteTopic", AclOperation.READ, "ReadData", AclOperation.WRITE, "WriteData",
          AclOperation.DESCRIBE_CONFIGS, "DescribeTopicDynamicConfiguration",
          AclOperation.ALTER_CONFIGS, "AlterTopicDynamicConfiguration"),
      ResourceType.GROUP, Map.of(
          AclOperation.DESCRIBE, "DescribeGroup", AclOperation.READ, "AlterGroup", AclOperation.DELETE, "DeleteGroup"),
      ResourceType.TRANSACTIONAL_ID, Map.of(
          AclOperation.DESCRIBE, "DescribeTransactionalId", AclOperation.WRITE, "AlterTransactionalId"));

  @Override public Map<Endpoint, ? extends CompletionStage<Void>> start(AuthorizerServerInfo info) {
    Map<Endpoint, CompletionStage<Void>> ready = new HashMap<>();
    for (Endpoint endpoint : info.endpoints()) ready.put(endpoint, CompletableFuture.completedFuture(null));
    return ready;
  }

  @Override public List<AuthorizationResult> authorize(AuthorizableRequestContext context, List<Action> actions) {
    return actions.stream().map(action -> decide(context.principal(), action)).toList();
  }

  private static AuthorizationResult decide(KafkaPrincipal principal, Action asked) {
    if (principal.equals(KafkaPrincipal.ANONYMOUS)) return AuthorizationResult.ALLOWED;
    IamRoles roles = IamRoles.now();
    ResourceType type = asked.resourcePattern().resourceType();
    String name = asked.resourcePattern().name();
    String action = ACTIONS.getOrDefault(type, Map.of()).get(asked.operation());
    // An operation that has no action is one that no policy can allow.
    String arn = switch (type) {
      case TOPIC -> roles.arn("topic", name);
      case GROUP -> roles.arn("group", name);
      case TRANSACTIONAL_ID -> roles.arn("transactional-id", name);
      default -> roles.cluster();
    };
    String missing = action == null ? type + " " + asked.operation() : roles.missing(principal.getName(), action, arn);
    // Some questions are asked only to leave things out of an answer.
    String verdict = missing == null ? "ALLOWED" : asked.logIfDenied() ? "DENIED" : "LEFT OUT";
    IamRoles.log(verdict, principal.getName(), "kafka-cluster:" + (missing == null ? action : missing), arn);
    return missing == null ? AuthorizationResult.ALLOWED : AuthorizationResult.DENIED;
  }

  /** Denies what Kafka would allow on the strength of a right on any topic: idempotent writing is an action of its own. */
  @Override public AuthorizationResult authorizeByResourceType(AuthorizableRequestContext context, AclOperation operation,
      ResourceType type) {
    return context.principal().equals(KafkaPrincipal.ANONYMOUS) ? AuthorizationResult.ALLOWED : AuthorizationResult.DENIED;
  }

  @Override public List<? extends CompletionStage<AclCreateResult>> createAcls(AuthorizableRequestContext context,
      List<AclBinding> bindings) {
    throw new UnsupportedOperationException();
  }

  @Override public List<? extends CompletionStage<AclDeleteResult>> deleteAcls(AuthorizableRequestContext context,
      List<AclBindingFilter> filters) {
    throw new UnsupportedOperationException();
  }

  @Override public Iterable<AclBinding> acls(AclBindingFilter filter) { return List.of(); }

  @Override public void configure(Map<String, ?> configs) {}

  @Override public void close() {}
}
