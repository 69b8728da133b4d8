// dicomcast in a Container Instance beside an Azure Health Data Services workspace: an identity that may read the DICOM
// service, write the FHIR service and keep its state in a table; nothing else, and no key anywhere.
targetScope = 'resourceGroup'

@description('What everything is called: 3 to 16 lower-case letters and digits.')
@minLength(3)
@maxLength(16)
param name string = 'dicomcast'

param location string = resourceGroup().location

@description('The image of the target `azure`, such as REGISTRY.azurecr.io/dicomcast:0.1.0-azure.')
param image string

@description('The name of the registry in this resource group that the image is pulled from; empty if it is public.')
param registry string = ''

@description('The workspace of Azure Health Data Services, in this resource group, with both services.')
param workspace string
param dicomService string
param fhirService string

@description('The system (absolute URI) of PatientID where no issuer says otherwise (PATIENT__SYSTEM).')
param patientSystem string

@description('Where FHIR clients reach the DICOM service, if not at its own address: behind a private link (DICOM__PUBLIC_URL).')
param dicomPublicUrl string = ''

var dicomUrl = 'https://${workspace}-${dicomService}.dicom.azurehealthcareapis.com'
var fhirUrl = 'https://${workspace}-${fhirService}.fhir.azurehealthcareapis.com'

// The least that each of them needs (Azure built-in roles).
var roles = {
  dicomDataReader: 'e89c7a3c-2f64-4fa1-a847-3e4c9ba4283a' // DICOM Data Reader
  fhirDataContributor: '5a1fc7df-4bf1-4951-a576-89034ee01acd' // FHIR Data Contributor
  storageTableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3' // Storage Table Data Contributor
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6' // Key Vault Secrets User
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb' // Monitoring Metrics Publisher
  acrPull: '7f951dda-4ed3-4680-a7ca-43fe172d538d' // AcrPull
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
}

resource ahds 'Microsoft.HealthcareApis/workspaces@2023-11-01' existing = {
  name: workspace

  resource dicom 'dicomservices' existing = {
    name: dicomService
  }

  resource fhir 'fhirservices' existing = {
    name: fhirService
  }
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: take('${name}${uniqueString(resourceGroup().id)}', 24)
  location: location
  kind: 'StorageV2'
  sku: { name: 'Standard_ZRS' }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: take('${name}-${uniqueString(resourceGroup().id)}', 24)
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enablePurgeProtection: true
  }
}

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: name
  location: location
  properties: { sku: { name: 'PerGB2018' }, retentionInDays: 30 }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: name
  location: location
  kind: 'other'
  properties: { Application_Type: 'other', WorkspaceResourceId: logs.id, DisableLocalAuth: true }
}

resource pulled 'Microsoft.ContainerRegistry/registries@2023-07-01' existing = if (!empty(registry)) {
  name: registry
}

resource readDicom 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(ahds::dicom.id, identity.id, roles.dicomDataReader)
  scope: ahds::dicom
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.dicomDataReader)
  }
}

resource writeFhir 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(ahds::fhir.id, identity.id, roles.fhirDataContributor)
  scope: ahds::fhir
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.fhirDataContributor)
  }
}

resource keepState 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, identity.id, roles.storageTableDataContributor)
  scope: storage
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageTableDataContributor)
  }
}

resource readSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identity.id, roles.keyVaultSecretsUser)
  scope: vault
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}

resource sendMetrics 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, identity.id, roles.monitoringMetricsPublisher)
  scope: insights
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.monitoringMetricsPublisher)
  }
}

resource pull 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(registry)) {
  name: guid(registry, identity.id, roles.acrPull)
  scope: pulled
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.acrPull)
  }
}

resource worker 'Microsoft.ContainerInstance/containerGroups@2023-05-01' = {
  name: name
  location: location
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identity.id}': {} } }
  dependsOn: [readDicom, writeFhir, keepState, readSecrets, sendMetrics, pull]
  properties: {
    osType: 'Linux'
    restartPolicy: 'Always'
    imageRegistryCredentials: empty(registry) ? [] : [{ server: '${registry}.azurecr.io', identity: identity.id }]
    containers: [
      {
        name: 'dicomcast'
        properties: {
          image: image
          command: ['dicomcast', 'run']
          resources: { requests: { cpu: 1, memoryInGB: json('0.5') } }
          ports: [{ port: 8080, protocol: 'TCP' }]
          livenessProbe: { httpGet: { path: '/livez', port: 8080, scheme: 'http' }, initialDelaySeconds: 30, periodSeconds: 30 }
          environmentVariables: concat(
            [
              { name: 'DICOMCAST_DICOM__URL', value: dicomUrl }
              { name: 'DICOMCAST_DICOM__AUTH__KIND', value: 'azure' }
              { name: 'DICOMCAST_DICOM__AUTH__IDENTITY', value: 'managed' }
              { name: 'DICOMCAST_DICOM__AUTH__CLIENT_ID', value: identity.properties.clientId }
              { name: 'DICOMCAST_FHIR__URL', value: fhirUrl }
              { name: 'DICOMCAST_FHIR__AUTH__KIND', value: 'azure' }
              { name: 'DICOMCAST_FHIR__AUTH__IDENTITY', value: 'managed' }
              { name: 'DICOMCAST_FHIR__AUTH__CLIENT_ID', value: identity.properties.clientId }
              { name: 'DICOMCAST_PATIENT__SYSTEM', value: patientSystem }
              { name: 'DICOMCAST_STATE__URL', value: 'azure-tables://${storage.name}' }
              { name: 'DICOMCAST_STATE__CLIENT_ID', value: identity.properties.clientId }
              { name: 'DICOMCAST_KEYVAULT', value: vault.properties.vaultUri }
              { name: 'DICOMCAST_HEALTH__PORT', value: '8080' }
              { name: 'DICOMCAST_LOG__FORMAT', value: 'json' }
              { name: 'DICOMCAST_TELEMETRY__EXPORTER', value: 'azure-monitor' }
              { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: insights.properties.ConnectionString }
              { name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING', value: 'Authorization=AAD;ClientId=${identity.properties.clientId}' }
              { name: 'AZURE_CLIENT_ID', value: identity.properties.clientId }
            ],
            empty(dicomPublicUrl) ? [] : [{ name: 'DICOMCAST_DICOM__PUBLIC_URL', value: dicomPublicUrl }]
          )
        }
      }
    ]
  }
}

output identity string = identity.properties.clientId
output storageAccount string = storage.name
output keyVault string = vault.properties.vaultUri
